"""Other machines over SSH: connections, working trees, and jobs that are submitted there."""
