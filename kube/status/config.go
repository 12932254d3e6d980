package status

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// Fleet is what is in force; [pavise.dev/pavise/xds/fleet.Fleet] is one.
type Fleet interface {
	Set() *api.Set
	Model() *policy.Model
	Selected(p policy.PolicyRef) []*policy.Workload
	NodesOf(workload string) []string
	WorkloadOf(node string) string
	Digest(workload string) string
}

// Server knows what the sidecars of this replica made of it; [xds.Server] is one.
type Server interface {
	Nodes() iter.Seq2[string, xds.NodeStatus]
	Changed() <-chan struct{}
}

// Feeds knows what became of the feeds; [feeds.Manager] is one.
type Feeds interface {
	Status() []feeds.Status
	Snapshot() *snapshot.Snapshot
	Trouble() error
}

// Config of a Writer.
type Config struct {
	// Client writes. Its scheme has to know the kinds of package api. Required.
	Client client.Client
	// Reader reads ConfigMaps in Namespace, and each object before its status is written.
	// Default Client; a client with a cache of all ConfigMaps would be a waste of memory.
	Reader client.Reader
	// Identity is this replica's name, such as that of its pod. Required.
	Identity string
	// Namespace of the control plane. Required.
	Namespace string
	// Revision of the control plane. Replicas of other revisions are counted, too: a policy
	// is programmed when the sidecars of all revisions have it.
	Revision string
	// Owner, such as the pod, takes the ConfigMap with it when it goes. Nil is none.
	Owner *metav1.OwnerReference
	// Fleet and Server are required; Feeds is nil where there are none.
	Fleet  Fleet
	Server Server
	Feeds  Feeds
	// Leading says whether this replica writes statuses; of all revisions one should. Required.
	Leading func() bool

	// Interval between two rounds of counting and writing. Default 2 seconds.
	Interval time.Duration
	// Heartbeat is how often the ConfigMap is written when nothing changed. Default 15 seconds.
	Heartbeat time.Duration
	// Rate bounds the statuses that are written in a second. Default 10.
	Rate int
	// Logger is told what could not be written; nil is silent.
	Logger *slog.Logger

	now func() time.Time
}

// resync is how often everything is compared with what the API server has.
const resync = 10 * time.Minute

func (c *Config) setDefaults() error {
	switch {
	case c.Client == nil:
		return errors.New("status: Config.Client is required")
	case c.Identity == "" || c.Namespace == "":
		return errors.New("status: Config.Identity and Config.Namespace are required: the names of the pod and its namespace")
	case c.Fleet == nil || c.Server == nil:
		return errors.New("status: Config.Fleet and Config.Server are required")
	case c.Leading == nil:
		return errors.New("status: Config.Leading is required: two replicas that write would overwrite each other")
	case c.Interval < 0 || c.Heartbeat < 0 || c.Rate < 0:
		return errors.New("status: a bound below zero; leave it at 0 for the default")
	}
	gvk := api.GroupVersion.WithKind(api.KindAccessPolicy)
	if !c.Client.Scheme().Recognizes(gvk) {
		return fmt.Errorf("status: the scheme of Config.Client does not know %v: call api.AddToScheme", gvk)
	}
	if c.Reader == nil {
		c.Reader = c.Client
	}
	c.Interval = cmp.Or(c.Interval, 2*time.Second)
	c.Heartbeat = max(cmp.Or(c.Heartbeat, 15*time.Second), c.Interval)
	c.Rate = cmp.Or(c.Rate, 10)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return nil
}
