"""Which lines of the package tests reach: the Python ones and the compiled ones."""
