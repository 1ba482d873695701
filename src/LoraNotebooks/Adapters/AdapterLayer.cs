using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>
/// What one adapter adds to one layer of the base model. Each method (LoRA, …) is one small class with the same three answers:
/// which weights it trains, which ΔW they make, and what they add to the layer's output.
/// </summary>
public abstract class AdapterLayer : IDisposable
{
    private readonly OrderedDictionary<string, Parameter> _parameters = new(StringComparer.Ordinal);

    private protected AdapterLayer(string path) => Path = path;

    /// <summary>The path of the base layer.</summary>
    public string Path { get; }

    /// <summary>The trained weights by the names that PEFT gives them below the layer's path, e.g. "lora_A.weight". Always float32.</summary>
    public virtual IReadOnlyDictionary<string, Parameter> Parameters => _parameters;

    /// <summary>Whether dropout acts.</summary>
    internal virtual bool Training { get; set; } = true;

    /// <summary>Starts the random numbers of dropout anew, where the layer has some.</summary>
    internal virtual void SeedDropout(long seed)
    {
    }

    /// <summary>ΔW at weight 1, float32, in the shape of W; <see langword="null"/> if only the bias changes.</summary>
    public abstract Tensor? WeightDelta();

    /// <summary>Δb at weight 1, float32; <see langword="null"/> if the bias does not change.</summary>
    public virtual Tensor? BiasDelta() => null;

    /// <summary>y + w·(the adapter's part for x).</summary>
    /// <param name="y">The output so far; it may be overwritten.</param>
    /// <param name="x">The layer's input.</param>
    /// <param name="weight">w.</param>
    public abstract Tensor Add(Tensor y, Tensor x, double weight);

    /// <summary>Moves the trained weights; optimizers made before hold the old ones.</summary>
    internal virtual void To(Device device)
    {
        using var noGrad = no_grad();
        foreach (var name in _parameters.Keys.ToList())
        {
            var old = _parameters[name];
            if (!IsOn(old, device))
            {
                _parameters[name] = new Parameter(old.detach().to(device), old.requires_grad);
                _parameters[name].DetachFromDisposeScope();
                old.Dispose();
            }
        }
    }

    // Two objects that mean one device are not equal, and "cuda" is any of its devices.
    private static bool IsOn(Tensor tensor, Device device) =>
        tensor.device_type == device.type && (device.index < 0 || Math.Max(tensor.device_index, 0) == device.index);

    /// <summary>Releases the trained weights.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc cref="Dispose()"/>
    protected virtual void Dispose(bool disposing)
    {
        foreach (var parameter in _parameters.Values)
        {
            parameter.Dispose();
        }
    }

    /// <summary>Registers a trained weight; the layer owns it from now on.</summary>
    internal void Register(string name, Tensor initial, Device device)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var parameter = new Parameter(initial.detach().to(ScalarType.Float32).to(device).clone());
        parameter.DetachFromDisposeScope();
        _parameters[name] = parameter;
    }
}
