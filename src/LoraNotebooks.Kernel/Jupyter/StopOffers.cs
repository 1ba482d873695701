using System.Collections.Concurrent;
using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>What buttons in the page may stop.</summary>
internal sealed class StopOffers
{
    /// <summary>The name under which the page opens a comm to press a button.</summary>
    public const string CommTarget = "lora-notebooks.stop";

    private readonly ConcurrentDictionary<string, Action> _offers = new(StringComparer.Ordinal);

    /// <summary>A new offer.</summary>
    public StopOffer Add(Action stop)
    {
        var id = Guid.NewGuid().ToString("N");
        _offers[id] = stop;
        return new StopOffer(id, () => _offers.TryRemove(id, out _));
    }

    /// <summary>Whether an offer still stands: what it would stop still runs.</summary>
    public bool Stands(string id) => _offers.ContainsKey(id);

    /// <summary>Does what a button is there for, on a thread of its own.</summary>
    /// <returns>Whether the offer still stood; if not, nothing is done.</returns>
    public bool Press(string id)
    {
        if (!_offers.TryGetValue(id, out var stop))
        {
            return false;
        }

        _ = Task.Run(stop);
        return true;
    }
}
