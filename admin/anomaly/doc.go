// Package anomaly learns from decisions what is usual for each workload, and raises an alert
// with its evidence on what is not. It counts and compares; there is no model that nobody
// could recompute by hand. What it says is a hint for people: it denies nothing.
//
// New makes a [Detector]; Observe feeds it, Run lets time pass for the silent, Alerts and
// Follow read what it raised, Baseline shows what it knows, and Snapshot and Restore carry that
// over a restart. Per decision it costs about a microsecond and the memory is bounded by
// Config.MaxBytes, so it can sit behind the decision log but not in the data path.
//
// # What is usual
//
// Time is cut into windows of 10 minutes and hours of the week, both in UTC. For each direction
// of a workload there are sets of peers (256), names (512), ports (64), methods (16) and shapes
// of paths (512, see flows.Shape), and the counts of allowed and denied in each hour of the
// week, as an average in which the newest week has a weight of 0.3. A value is usual once it
// was met in two windows. During the learning time of a workload (24 h) nothing is alerted
// on; what goes wrong from the beginning is learned as usual, so read a Baseline once.
//
// A set in which something new turns up in more than 12 windows of the second half of the
// learning time is open: the callers of a public site, the names that a crawler asks for.
// There nothing new is alerted on, until a day with at most 6 such windows closes it.
//
// # Thresholds
//
// Low sensitivity doubles the numbers marked *, High halves them; those of regularity go the
// other way.
//
//	Kind      Raised when                                       Reason for the number
//	new-peer  a peer never met. On the way in, from unknown     one visit is enough for an attacker; at most 10
//	          addresses only if allowed; not in an open set.    an hour and 30 a day have their own alert, the
//	                                                            others are one about "*", or a flood would hide
//	                                                            the rest
//	new-name  a name never met, on the way out, which exists;   as above; names on the way in are the caller's
//	          a site's second new name of a day and all later   to choose. A tunnel through DNS has a new name
//	          ones are one alert                                each time, and is one site
//	new-path  a shape never met, on the way in, allowed         as above; what is denied did no harm
//	scan      of one source in 10 min, not usual: 10* ports,    a client of a new release has some new routes,
//	          25* paths, 20* names or 20* peers; and 4 times    tools try hundreds; 4 times since a peak by
//	          the usual peak. Sources beyond 256 count          chance seldom doubles
//	          together, and 4 times as many make a scan
//	denials   in 10 min 30* and more than in 3* usual hours     jobs that are denied by the hour come all at
//	                                                            once, so that a window is compared with hours
//	beacon    the intervals of calls to an external site first  random arrivals have 1, a client that waits at
//	          met after learning vary by at most 0.16* (8 to    random 0.5, jitter of ±30 % has 0.17; the fewer
//	          15 of them), 0.30* (16 to 63, without the         there are, the more may be chance. The longest
//	          longest eighth) or 0.22* (the latest 16,          are beats that were missed. The comb finds a
//	          likewise); or, of 32 calls and more, 60 % are     beat below other calls to the site; 6 sigmas,
//	          followed by one a period later, ±5 %, at 6*       as some 200 periods are tried each time
//	          standard deviations more than by chance
//	rate up   500* in the hour and 3* times the usual, 4.5*     days differ by half; a launch or a loop by much
//	          where this hour of the week is not known yet      more. Weekends are only known from the second
//	rate down below a tenth* of the usual, which is 200*, in    an outage or a lost route; deploys and holidays
//	          an hour of the week known for 2 weeks             cost less than that
//
// Usual at an hour is the highest average of it and its two neighbours (the lowest for a
// drop): a job that is late by ten minutes is no anomaly. Of an hour with an alert, no more is
// learned than what would just have been none; what a scanning source tries is not learned.
//
// The test TestMeasured prints precision and recall for each kind on four weeks of made
// traffic with ten seeds. Its traffic is made by us and not recorded: the numbers show
// that the thresholds do what they say, and not what they find in another cluster.
//
// # What an attacker can do
//
// Flood values: a set that is full gives up a value only after one hour unseen for each window
// in which it was met (at most 30 days), so that what is used every day stays; what finds no
// place is counted as overflow, and is alerted on as new each time. Memory that is full takes
// nothing in from anybody, is not alerted on and is counted as overflow, too; a workload
// can take some 200 KB, and 600 KB with the longest values.
//
// Hide a beacon: another destination does not help, since each is judged by itself and one that
// keeps calling keeps its place among 128; holding all of them takes as many sites that
// call on. Other calls to the same site do not help up to about as many as the beat
// has. Two and more at random times for each beat hide it, and so do intervals that are
// random altogether, and a site that was usual before. The site is then a new name still.
//
// Lie: a name is what the client says. Who names a usual host and connects to another
// address looks usual here; rules by domain refuse it (docs/semantics.md). To go slow: less
// than 10 ports in 10 minutes is no scan, though each peer is new once.
package anomaly
