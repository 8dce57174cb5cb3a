"""Channel modules: one package per business, each written against ``execution.module`` alone."""
