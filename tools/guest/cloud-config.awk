# SPDX-License-Identifier: Apache-2.0
# Reads a "#cloud-config" and prints a script of calls: set_name, one_key, one_file, one_command,
# not_done. It reads the YAML that people write there: keys, lists, lists in [brackets], quoted text,
# and blocks after | and >. Everything comes out in single quotes.

# (Without gsub: what a backslash means in its replacement differs from awk to awk.)
function quoted(s,    parts, n, i) {
	n = split(s, parts, "'")
	s = parts[1]
	for (i = 2; i <= n; i++)
		s = s "'\\''" parts[i]
	return "'" s "'"
}

# A plain or quoted scalar as text.
function scalar(s) {
	sub(/^[ \t]+/, "", s)
	sub(/[ \t\r]+$/, "", s)
	if (s ~ /^".*"$/) {
		s = substr(s, 2, length(s) - 2)
		gsub(/\\"/, "\"", s)
		gsub(/\\n/, "\n", s)
		gsub(/\\t/, "\t", s)
		gsub(/\\\\/, "\\", s)
	} else if (s ~ /^'.*'$/) {
		s = substr(s, 2, length(s) - 2)
		gsub(/''/, "'", s)
	} else
		sub(/[ \t]+#.*$/, "", s)
	return s
}

# Splits "[a, 'b, c']" into words[1..n]; returns n.
function flow(s, words,    n, i, c, quote, word) {
	sub(/^[ \t]*\[/, "", s)
	sub(/\][ \t\r]*$/, "", s)
	n = 0
	word = quote = ""
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		if (quote == "" && (c == "\"" || c == "'"))
			quote = c
		else if (c == quote && !(c == "\"" && substr(s, i - 1, 1) == "\\"))
			quote = ""
		if (c == "," && quote == "") {
			words[++n] = scalar(word)
			word = ""
		} else
			word = word c
	}
	if (word !~ /^[ \t]*$/)
		words[++n] = scalar(word)
	return n
}

# One element of the list `section`, whole.
function element(s,    words, n, i, line) {
	if (section == "ssh_authorized_keys")
		print "one_key " quoted(scalar(s))
	else if (section == "runcmd" && s ~ /^[ \t]*\[/) {
		n = flow(s, words)
		line = ""
		for (i = 1; i <= n; i++)
			line = line quoted(words[i]) " "
		print "one_command " quoted(line)
	} else if (section == "runcmd")
		print "one_command " quoted(scalar(s))
}

function end_file() {
	if ("path" in file) {
		mark = "end-of-file-" NR
		print "one_file", quoted(file["path"]), quoted(file["permissions"]), quoted(file["owner"]), \
			quoted(file["encoding"]), quoted(file["append"]) " <<'" mark "'"
		if (file["content"] != "")
			printf "%s%s", file["content"], (file["content"] ~ /\n$/ ? "" : "\n")
		print mark
	}
	delete file
}

# A value that began on a line with | or > goes on while lines are indented more than its key.
function end_block() {
	if (block == "")
		return
	if (strip)
		sub(/\n+$/, "", text)
	else
		sub(/\n+$/, "\n", text)
	if (section == "write_files")
		file[block] = text
	else if (section == "runcmd")
		print "one_command " quoted(text)
	block = ""
}

function begin_block(name, value, indent) {
	if (value !~ /^[|>][-+]?[ \t\r]*$/)
		return 0
	block = name
	strip = value ~ /-/
	fold = value ~ /^>/
	text = ""
	key_indent = indent
	text_indent = -1
	return 1
}

function field(s, indent,    name, value) {
	name = value = s
	sub(/:.*$/, "", name)
	sub(/^[^:]*:[ \t]*/, "", value)
	if (!begin_block(name, value, indent))
		file[name] = scalar(value)
}

{
	sub(/\r$/, "")
	match($0, /^ */)
	indent = RLENGTH
	blank = $0 ~ /^[ \t]*$/
}
block != "" {
	if (blank) {
		text = text "\n"
		next
	}
	if (indent > key_indent) {
		if (text_indent < 0)
			text_indent = indent
		text = text substr($0, text_indent + 1) (fold ? " " : "\n")
		next
	}
	end_block()
}
blank || /^[ \t]*#/ { next }
/^[a-z_]+:/ {
	end_file()
	section = $0
	sub(/:.*$/, "", section)
	value = $0
	sub(/^[a-z_]+:[ \t]*/, "", value)
	if (section == "hostname")
		print "set_name " quoted(scalar(value))
	else if (section !~ /^(ssh_authorized_keys|runcmd|write_files)$/)
		print "not_done " quoted(section)
	else if (value ~ /^\[/) {
		n = flow(value, words)
		for (i = 1; i <= n; i++)
			element(words[i])
	}
	next
}
/^ *- / {
	rest = $0
	sub(/^ *- +/, "", rest)
	if (section == "write_files") {
		end_file()
		field(rest, index($0, rest) - 1)
	} else if (!begin_block("item", rest, indent))
		element(rest)
	next
}
section == "write_files" { field(substr($0, indent + 1), indent) }
END {
	end_block()
	end_file()
}
