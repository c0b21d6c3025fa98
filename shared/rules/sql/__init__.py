"""The second interpreter of rules: who is in a segment, asked of the warehouse. README.md says where it agrees with the stream, and why."""
