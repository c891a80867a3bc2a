"""What is made from tables of the package for people: tables in documents, completions. Not installed with mxallowd."""
