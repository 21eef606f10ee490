"""Profile photographs made frontal, judged by a recogniser against real frontal photographs.

CFP has both views of its people. A method takes the profile photograph of each official
frontal-profile pair; what it makes of it is verified against the pair's frontal photograph by a
recogniser that has nothing to do with the method. Rows without a method say what that is worth.

Source of the pairs: Sengupta et al., "Frontal to Profile Face Verification in the Wild", WACV 2016.
"""
