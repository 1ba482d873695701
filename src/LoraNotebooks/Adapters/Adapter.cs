namespace LoraNotebooks.Adapters;

/// <summary>One named adapter: its settings, its layers and what they share, and how strongly it acts.</summary>
internal sealed class Adapter(string name, LoraConfig config, IReadOnlyList<AdapterLayer> layers, SharedTensors shared) : IDisposable
{
    public string Name { get; } = name;

    public LoraConfig Config { get; } = config;

    public IReadOnlyList<AdapterLayer> Layers { get; } = layers;

    /// <summary>w.</summary>
    public double Weight { get; set; } = 1;

    /// <summary>Whether the base's weights contain it, so that its layers must add nothing.</summary>
    public bool IsMerged { get; set; }

    public void Dispose()
    {
        foreach (var layer in Layers)
        {
            layer.Dispose();
        }

        shared.Dispose();
    }
}
