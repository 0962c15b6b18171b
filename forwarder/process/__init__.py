"""How our processes start, shed privileges and hand each other descriptors."""
