"""HTTP: one blueprint a dialect. A view reads the body, lets `wire` decode it, starts an interaction and answers with a
reply of `wire`; what goes wrong is raised as one of our errors and rendered once, in `errors`.
"""
