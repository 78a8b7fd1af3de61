"""A run on disk: its folder, its schema, what is written when and read back how."""
