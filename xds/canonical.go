package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	sfscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	sfsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/xds/internal/pack"
	"pavise.dev/pavise/xds/matcher"
)

// Envoy normalises paths but leaves the case of escapes and of hosts. The scripts do
// what it leaves, so that rules compare one spelling. If a script failed, Envoy would
// go on without it: the trees then meet a host or an escape that is not canonical and
// refuse it by name, so the failure denies.
const (
	canonicalScript = `
local function canonical(headers)
  local authority = headers:get(":authority")
  if authority then
    local lower = string.lower(authority)
    if lower ~= authority then headers:replace(":authority", lower) end
    authority = lower
  end
  local target = headers:get(":path")
  if target then
    local query = string.find(target, "?", 1, true)
    local path = query and string.sub(target, 1, query - 1) or target
    local upper = string.gsub(path, "%%%x%x", string.upper)
    if upper ~= path then
      headers:replace(":path", upper .. (query and string.sub(target, query) or ""))
    end
  end
  return authority or ""
end
`
	inboundScript = canonicalScript + `
function envoy_on_request(handle)
  canonical(handle:headers())
end
`
	// proxyScript also takes the authority apart; an empty host is refused by the tree.
	proxyScript = canonicalScript + `
function envoy_on_request(handle)
  local headers = handle:headers()
  local authority = canonical(headers)
  local host, port = string.match(authority, "^(.-):(%d+)$")
  if not host then
    host, port = authority, headers:get(":method") == "CONNECT" and "0" or "80"
  end
  local number = tonumber(port)
  if number < 1 or number > 65535 then host = "" end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("pavise", "host", (string.gsub(host, "%.$", "")))
  metadata:set("pavise", "port", string.format("%d", number))
end
`
)

func luaFilter(script string) *luav3.Lua {
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: script}}}
}

// canonicalFilter is the name of the filter that canonicalRoutes switch on.
const canonicalFilter = "pavise.canonical"

// inboundCanonical is off: a filter that is made for every request to do nothing costs
// more than to choose between routes.
func inboundCanonical() *hcmv3.HttpFilter {
	f := httpFilter(canonicalFilter, luaFilter(inboundScript))
	f.Disabled = true
	return f
}

// canonicalRoutes are those of the requests for which the filter is on: that have
// capitals in the host, or escapes.
func canonicalRoutes(action *routev3.Route_Route) []*routev3.Route {
	on := map[string]*anypb.Any{canonicalFilter: pack.Any(&routev3.FilterConfig{Config: &anypb.Any{}})}
	route := func(header string, m *typev3.StringMatcher) *routev3.Route {
		return &routev3.Route{
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
				Headers:       []*routev3.HeaderMatcher{{Name: header, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}},
			},
			Action:               action,
			TypedPerFilterConfig: on,
		}
	}
	return []*routev3.Route{
		route(":path", &typev3.StringMatcher{MatchPattern: &typev3.StringMatcher_Contains{Contains: "%"}}),
		route(":authority", &typev3.StringMatcher{MatchPattern: &typev3.StringMatcher_SafeRegex{
			SafeRegex: &typev3.RegexMatcher{Regex: ".*[A-Z].*"},
		}}),
	}
}

// filterState sets keys, given as pairs of key and format.
func filterState(name string, pairs ...string) *hcmv3.HttpFilter {
	c := &sfsv3.Config{}
	for i := 0; i < len(pairs); i += 2 {
		c.OnRequestHeaders = append(c.OnRequestHeaders, &sfscommonv3.FilterStateValue{
			Key:        &sfscommonv3.FilterStateValue_ObjectKey{ObjectKey: pairs[i]},
			FactoryKey: "envoy.string",
			Value:      &sfscommonv3.FilterStateValue_FormatString{FormatString: format(pairs[i+1])},
		})
	}
	return httpFilter(name, c)
}

// pathState is the canonical path with a slash added, see [matcher.PathKey].
func pathState() []string { return []string{matcher.PathKey, "%PATH(NQ:PATH)%/"} }

func format(text string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
	}}
}
