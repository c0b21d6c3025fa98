"""What an operator writes, typed: documents with positions, the models of each kind, and their JSON Schemas.

`folder.read_folder(folder)` reads a folder whole; each problem names file, line, path and what was expected. Bounds: README.md.
"""
