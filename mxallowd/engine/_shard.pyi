# Nothing of it is for Python: _table.pyi has what is.
