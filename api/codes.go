package api

import "slices"

// Codes of problems. A code never changes its meaning and is never used again, so
// scripts may match it. Codes from PAV0700 on belong to package policy.
const (
	// Reading: PAV00xx.
	CodeUnreadable   = "PAV0001"
	CodeTooLarge     = "PAV0002"
	CodeNotText      = "PAV0003"
	CodeSyntax       = "PAV0004"
	CodeYAMLFeature  = "PAV0005"
	CodeTooDeep      = "PAV0006"
	CodeNotObject    = "PAV0007"
	CodeUnknownKind  = "PAV0008"
	CodeUnknownField = "PAV0009"
	CodeDuplicateKey = "PAV0010"
	CodeType         = "PAV0011"
	CodeQuote        = "PAV0012"
	CodeNumber       = "PAV0013"
	CodeEmptyValue   = "PAV0014"
	CodeNull         = "PAV0015"
	CodeMoreProblems = "PAV0016"

	// Objects and names: PAV01xx.
	CodeName            = "PAV0101"
	CodeNamespace       = "PAV0102"
	CodeLabel           = "PAV0103"
	CodeDuplicateObject = "PAV0104"
	CodeMissing         = "PAV0105"
	CodeEnum            = "PAV0106"
	CodeRuleName        = "PAV0107"
	CodeRuleNameTwice   = "PAV0108"
	CodeSelector        = "PAV0109"
	CodeSaysNothing     = "PAV0110"
	CodeEmptyList       = "PAV0111"
	CodeTooMany         = "PAV0112"

	// Peers and addresses: PAV02xx.
	CodePeerEmpty     = "PAV0201"
	CodePeerMixed     = "PAV0202"
	CodeExceptAlone   = "PAV0203"
	CodeExceptOutside = "PAV0204"
	CodeAddress       = "PAV0205"
	CodeHostBits      = "PAV0206"
	CodeReference     = "PAV0207"

	// Ports: PAV03xx.
	CodePort        = "PAV0301"
	CodePortRange   = "PAV0302"
	CodePortTwice   = "PAV0303"
	CodeUDPWithHTTP = "PAV0304"

	// HTTP: PAV04xx.
	CodeMethod        = "PAV0401"
	CodeMethodCase    = "PAV0402"
	CodeConnect       = "PAV0403"
	CodePathKind      = "PAV0404"
	CodePath          = "PAV0405"
	CodePathAmbiguous = "PAV0406"
	CodePathParameter = "PAV0407"
	CodePathLiteral   = "PAV0408"
	CodeTemplate      = "PAV0409"
	CodeRegex         = "PAV0410"
	CodeRegexLarge    = "PAV0411"
	CodeRegexNoPath   = "PAV0412"
	CodeHost          = "PAV0413"
	CodeHeaderName    = "PAV0414"
	CodeQueryName     = "PAV0415"
	CodeValueKind     = "PAV0416"
	CodeValue         = "PAV0417"

	// TLS and domains: PAV05xx.
	CodeDomain        = "PAV0501"
	CodeDomainAddress = "PAV0502"
	CodeServerNames   = "PAV0503"

	// Workloads: PAV06xx.
	CodeListenerName    = "PAV0601"
	CodeListenerTwice   = "PAV0602"
	CodeListenerAddress = "PAV0603"
	CodeListenerShared  = "PAV0604"
	CodeUpstream        = "PAV0605"
	CodeUpstreamLoop    = "PAV0606"
	CodeHTTPOptions     = "PAV0607"
	CodeWorkloadAddress = "PAV0608"
	CodeAddressShared   = "PAV0609"
	CodeTransparent     = "PAV0610"
	CodeAnomaly         = "PAV0611"

	// Threat feeds: PAV065x to PAV067x.
	CodeFeedURL         = "PAV0651"
	CodeFeedCredentials = "PAV0652"
	CodeFeedPlainText   = "PAV0653"
	CodeFeedFormat      = "PAV0654"
	CodeFeedCSV         = "PAV0655"
	CodeJSONPath        = "PAV0656"
	CodeDuration        = "PAV0657"
	CodeFeedTiming      = "PAV0658"
	CodeFeedHeader      = "PAV0659"
	CodeFeedHeaderOwn   = "PAV0660"
	CodeFeedHeaderTwice = "PAV0661"
	CodeValueSource     = "PAV0662"
	CodeFeedEnv         = "PAV0663"
	CodeFeedTLS         = "PAV0664"
	CodeFeedGuard       = "PAV0665"
	CodeFeedBound       = "PAV0666"
	CodeStatus          = "PAV0667"
	CodeFeedLocal       = "PAV0668"
	CodeFeedSecret      = "PAV0669"
	CodeTooManyFeeds    = "PAV0670"
)

// CodeInfo explains a code: Title in a few words, Explanation in a few sentences
// of Markdown that say why it is a problem and what to do.
//
// +kubebuilder:object:generate=false
type CodeInfo struct {
	Code        string
	Severity    Severity
	Title       string
	Explanation string
}

// Codes returns every code that this package reports, in order. The slice is the
// caller's.
func Codes() []CodeInfo {
	return slices.Concat(readingCodes, matchCodes, feedCodes)
}

// severityOf says whether a code is an error, which every code that is not in the
// table of warnings is.
func severityOf(code string) Severity {
	if warnings[code] {
		return Warning
	}
	return Error
}

// warnings are derived from the table, so that a code has one severity everywhere.
var warnings = func() map[string]bool {
	m := map[string]bool{}
	for _, c := range Codes() {
		if c.Severity == Warning {
			m[c.Code] = true
		}
	}
	return m
}()
