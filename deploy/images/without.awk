# Drops the named packages, with their hashes, from a requirements file: awk -v without="a b" -f without.awk FILE
BEGIN { split(without, names, " "); for (i in names) unwanted[names[i]] = 1 }
/^[A-Za-z0-9]/ { split($0, word, "=="); dropped = word[1] in unwanted }
!dropped
