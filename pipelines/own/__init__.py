"""A user's own code, named in a recipe as `module:name`: found, imported, held against what it is given, digested."""
