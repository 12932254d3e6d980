// Package install brings Pavise into a cluster and out of it, without Helm.
//
// [Render] evaluates the chart by the part of Helm's template language that the chart uses.
// Helm's own engine would add 28 MB to the binary; a test compares the two. [Apply] puts the
// objects into a cluster in an order in which nothing waits for what comes later, webhooks
// last. [Uninstall] takes everything away in the reverse order, webhooks first, since a webhook
// without anybody behind it stops every pod that it matches.
//
// Nothing here may run for two installations of one revision at once: the last one wins.
package install
