"""The daemon, `hostward watch`: a small parent that waits for events, and a child for each judgement."""
