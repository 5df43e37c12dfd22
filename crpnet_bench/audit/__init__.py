"""Does a paper's arithmetic hold? Printed figures as data, and what follows from them."""
