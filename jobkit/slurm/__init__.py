"""Slurm as jobkit sees it: the batch script, the questions that are asked, and what the answers mean."""
