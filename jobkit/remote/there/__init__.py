"""What runs on the other machine. Its sources are sent there, so it needs nothing there but Python.

Only jobs.py uses the jobkit that is installed there, when it is asked about jobs.
"""
