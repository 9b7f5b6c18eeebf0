"""The words of the field: jobs, their states, attempts and charges, leases, stored images, failures."""
