"""What runs in the ranks of the contenders: no module here imports jobkit, but `native` what it measures."""
