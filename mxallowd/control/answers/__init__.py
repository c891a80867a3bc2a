"""The answers to requests: one module for each subject, with a class that has `routes()`."""
