"""Programs around the product that ``make`` runs. The product never imports them."""
