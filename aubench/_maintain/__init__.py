"""Scripts that make shipped files anew; users never need them."""
