package api

var readingCodes = []CodeInfo{
	{
		CodeUnreadable, Error, "A file or folder can't be read",
		"The folder does not exist, or a file in it is missing behind a symbolic link, is not a regular file or may not be read. " +
			"Nothing of the set is used, because a file that could not be read may hold the rule that denies.",
	},
	{
		CodeTooLarge, Error, "A file, a folder or a number of documents is too large",
		"A file may have 32 MiB, a folder 10,000 files, 1 GiB and 200,000 objects. " +
			"The bounds keep a mistake, such as a folder of logs, from using up the memory of the control plane.",
	},
	{
		CodeNotText, Error, "A file is not UTF-8 text",
		"The file is not UTF-8, or has a control character in it. Control characters can hide from a reviewer what a policy says.",
	},
	{
		CodeSyntax, Error, "A document is not valid YAML",
		"The YAML parser could not read the document. The other documents of the file are read and reported all the same. " +
			"Often it is a tab, an indentation that does not fit, or a value that begins with `*` and is not quoted, such as `*.example.com`.",
	},
	{
		CodeYAMLFeature, Error, "A feature of YAML that is not read",
		"Aliases, anchors, merge keys and tags are refused. A few lines of aliases can expand to gigabytes, " +
			"and a reviewer should see what a rule says where the rule is.",
	},
	{
		CodeTooDeep, Error, "A document is nested too deep",
		"No object has more than about a dozen levels; 64 are read.",
	},
	{
		CodeNotObject, Error, "A document is not an object",
		"Each document is an object with `apiVersion`, `kind` and `metadata`, or a `List` of them.",
	},
	{
		CodeUnknownKind, Error, "A kind that is not read",
		"Read are the kinds of `pavise.dev/v1alpha1`, and `Namespace` and `List` of `v1`. " +
			"Other objects are refused and not skipped: a slip in `kind` would otherwise switch a policy off.",
	},
	{
		CodeUnknownField, Error, "A field that does not exist",
		"A field with a slip in its name would otherwise be ignored, and a rule without one of its conditions matches more than it should.",
	},
	{
		CodeDuplicateKey, Error, "A field or name is given twice",
		"Readers of YAML differ on which of the two counts.",
	},
	{
		CodeType, Error, "A value of the wrong type",
		"The field takes another type: a list where there is one value, a number where there is a text, or the like.",
	},
	{
		CodeQuote, Error, "A text that has to be quoted",
		"YAML reads the value as a number or as true or false, and the field is a text. `1.10` would become `1.1`. Put it in quotes.",
	},
	{
		CodeNumber, Error, "A number out of range or not plain",
		"Write whole numbers as decimal digits. YAML's octal, hexadecimal and underscored numbers differ between readers.",
	},
	{
		CodeEmptyValue, Error, "An empty value",
		"An empty text or a 0 in an optional field, or an item of a list without a value. Leave the field out, or give it a value.",
	},
	{
		CodeNull, Warning, "A field without a value",
		"The field is there and has no value, which is the same as leaving it out. " +
			"Often a list was meant to be below it. `ingress: []` and `ingress:` differ: the first denies everything that comes in, the second says nothing.",
	},
	{
		CodeMoreProblems, Error, "More problems than are shown",
		"The first 1,000 problems of a file, and the first 1,000 between files, are shown. Mend them and read the file again.",
	},

	{
		CodeName, Error, "A name is missing or invalid",
		"`metadata.name` is needed and is lower-case letters, digits, `-` and `.`, up to 253 characters; " +
			"the name of a Namespace or a ThreatFeed has no `.` and up to 63.",
	},
	{
		CodeNamespace, Error, "A namespace is invalid or out of place",
		"A ClusterAccessPolicy, a ThreatFeed and a Namespace have no `metadata.namespace`. For the other kinds it is up to 63 lower-case letters, digits and `-`; " +
			"without it the object is in `default`.",
	},
	{
		CodeLabel, Error, "A label is invalid",
		"Label names and values follow the rules of Kubernetes, because selectors compare them the way Kubernetes does.",
	},
	{
		CodeDuplicateObject, Error, "An object is given twice",
		"Two objects have the same kind, namespace and name. The first is used for further checks; none is enforced.",
	},
	{CodeMissing, Error, "A required field is missing", "The field has no default."},
	{
		CodeEnum, Error, "A value that is not one of the known ones",
		"The field takes one of a few words, with their capital letters.",
	},
	{
		CodeRuleName, Error, "The name of a rule is invalid",
		"A rule's name is up to 63 lower-case letters, digits, `-`, `.` and `_`, and begins and ends with a letter or digit. " +
			"It appears in logs, metrics and in the answer to \"why\".",
	},
	{
		CodeRuleNameTwice, Error, "Two rules have the same name",
		"Decisions name the rule that made them, so names are unique within a direction. A rule without a name is `rule-N`, N its place from 1.",
	},
	{
		CodeSelector, Error, "A label selector is invalid",
		"Selectors are those of Kubernetes: `matchLabels`, and `matchExpressions` with In, NotIn, Exists or DoesNotExist.",
	},
	{
		CodeSaysNothing, Warning, "An object says nothing",
		"A policy has neither `ingress` nor `egress`, and so changes nothing. To deny everything in a direction, give it as an empty list: `ingress: []`.",
	},
	{
		CodeEmptyList, Warning, "An empty list that matches everything",
		"In a rule an empty list is the same as leaving the field out: `from: []` is anybody. Where the list was generated and came out empty, " +
			"the rule matches more than was meant. Leave the field out to say that it is on purpose.",
	},
	{
		CodeTooMany, Error, "A list is too long",
		"The bounds are those of the CRDs, so that what works as a file also works as an object.",
	},
}
