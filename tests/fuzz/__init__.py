"""Fuzz targets of all parsers: compiled ones with libFuzzer, those in Python with atheris. run.py starts them."""
