"""Stand in for a launcher: a program that is started here sees the variables that it would see there.

Processes and variables are real, the cluster is not: every node is this machine, and nothing answers where a
launcher's own daemons would, so that MPI_Init, for one, needs the launcher itself.
"""
