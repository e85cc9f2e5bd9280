"""ME-GraphAU and OpenGraphAU at the sizes of their authors."""
