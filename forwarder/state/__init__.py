"""The shared segments: layouts, and the writer and the reader of each."""
