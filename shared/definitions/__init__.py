"""What an operator writes, typed: documents with positions, the models of each kind, and their JSON Schemas.

`files.load(folder, kind)` reads every file of one kind; each problem names file, line, path and what was expected.
"""
