"""What commands see of the cluster: pure functions from State (and volatile notes) to text, made in slices."""
