"""Coverage reports: what a tenant's findings say about the controls of a framework."""
