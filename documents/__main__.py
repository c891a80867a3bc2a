"""python -m documents: writes anew all that is made from tables of the package."""
from documents import api, completions, manual, reference, tables

if __name__ == "__main__":
    tables.write()
    completions.write()
    reference.write()
    api.write()
    manual.write()
