"""One pure function per backend: from everybody's reports to the variables and files that MLX reads."""
