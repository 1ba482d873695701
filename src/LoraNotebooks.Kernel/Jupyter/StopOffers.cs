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

    /// <summary>Does what a button is there for, on a thread of its own; nothing if the offer has ended.</summary>
    public void Press(string id)
    {
        if (_offers.TryGetValue(id, out var stop))
        {
            _ = Task.Run(stop);
        }
    }
}
