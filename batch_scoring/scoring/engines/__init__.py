"""Engines that score the rows of a run: in this process, in worker processes, or in an isolated child process."""
