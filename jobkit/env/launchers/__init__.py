"""One small file per launcher: is this process one of its ranks, and where?"""
