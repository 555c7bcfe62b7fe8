"""Submit distributed programs to Slurm, SSH or this machine, and let their ranks communicate."""

__version__ = "0.1.0"
