"""Find out how hosts are cabled, and write the hostfile of a topology that their cables make possible."""
