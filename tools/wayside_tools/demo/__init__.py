"""`wayside demo`: a gateway and simulated nodes on a recorded street, and an honest account of every reading."""
