"""The cost of compressing a trained classifier, overall and for each group of people.

Source: Stoychev & Gunes, "The Effect of Model Compression on Fairness in Facial Expression
Recognition", 2022.
"""
