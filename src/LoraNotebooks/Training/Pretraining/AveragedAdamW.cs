using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>
/// AdamW (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2) over one flat float32 buffer, with an exponential moving average of the weights.
/// </summary>
/// <remarks>
/// A small network has hundreds of small tensors; updating each by itself costs more in calls than in arithmetic.
/// Here the master weights, both moments and the average are one vector each. The model may be in bfloat16: it receives a rounded copy of
/// the masters after each step, so that small updates are not lost to its eight bits of mantissa.
/// It is not <see cref="Optimizers.AdamWOptimizer"/>, whose last bits differ: the embedded base was made with a first moment of two roundings (there
/// lerp's one), with clipping only above the norm, and with weights that go on by their moments where a step gives them no gradient.
/// </remarks>
internal sealed class AveragedAdamW : IDisposable
{
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly Tensor master;
    private readonly Tensor firstMoment;
    private readonly Tensor secondMoment;
    private readonly Tensor average;
    private readonly Tensor[] masterViews;
    private readonly Tensor[] averageViews;
    private readonly double beta1;
    private readonly double beta2;
    private readonly double weightDecay;
    private readonly double averageDecay;

    /// <param name="parameters">The weights to train; their present values are the start.</param>
    /// <param name="averageDecay">The decay of the moving average per step, e.g. 0.999.</param>
    /// <param name="beta1">Decay of the first moment, β₁.</param>
    /// <param name="beta2">Decay of the second moment, β₂.</param>
    /// <param name="weightDecay">Decoupled weight decay λ, multiplied by the learning rate.</param>
    public AveragedAdamW(IReadOnlyList<Parameter> parameters, double averageDecay, double beta1 = 0.9, double beta2 = 0.99, double weightDecay = 0.01)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        this.parameters = parameters;
        (this.averageDecay, this.beta1, this.beta2, this.weightDecay) = (averageDecay, beta1, beta2, weightDecay);
        master = cat([.. parameters.Select(static p => p.reshape(-1).to(ScalarType.Float32))]).DetachFromDisposeScope();
        firstMoment = zeros_like(master).DetachFromDisposeScope();
        secondMoment = zeros_like(master).DetachFromDisposeScope();
        average = master.clone().DetachFromDisposeScope();
        masterViews = Views(master);
        averageViews = Views(average);
    }

    /// <summary>The number of steps taken.</summary>
    public long Steps { get; private set; }

    /// <summary>Clips the gradients to a global norm, takes one step and clears them.</summary>
    /// <param name="learningRate">The learning rate of this step.</param>
    /// <param name="maxNorm">The largest allowed L2 norm of all gradients together.</param>
    /// <returns>The gradients' norm before clipping.</returns>
    public double Step(double learningRate, double maxNorm = 1.0)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Steps++;
        var gradient = cat([.. parameters.Select(static p => (p.grad ?? zeros_like(p)).reshape(-1))]).to(ScalarType.Float32);
        var norm = gradient.norm().item<float>();
        if (norm > maxNorm)
        {
            gradient.Times_(maxNorm / (norm + 1e-6));
        }

        // m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ(1−ηλ) − η·m̂/(√v̂ + ε)
        firstMoment.Times_(beta1).Plus_(gradient, times: 1 - beta1);
        secondMoment.Times_(beta2).PlusProduct_(gradient, gradient, 1 - beta2);
        var denominator = secondMoment.sqrt().Over_(Math.Sqrt(1 - Math.Pow(beta2, Steps))).Plus_(1e-8);
        master.Times_(1 - learningRate * weightDecay).PlusQuotient_(firstMoment, denominator, -learningRate / (1 - Math.Pow(beta1, Steps)));

        // A young average would remember the random start: the decay grows with the steps.
        var decay = Math.Min(averageDecay, (1.0 + Steps) / (10.0 + Steps));
        average.lerp_(master, 1 - decay);
        CopyTo(masterViews);
        foreach (var parameter in parameters)
        {
            parameter.grad = null;
        }

        return norm;
    }

    /// <summary>Puts the averaged weights into the model, for saving or sampling; <see cref="UseMaster"/> takes them out again.</summary>
    public void UseAverage() => CopyTo(averageViews);

    /// <summary>Puts the trained weights into the model.</summary>
    public void UseMaster() => CopyTo(masterViews);

    /// <summary>Saves everything that the next step needs.</summary>
    public void Save(string path) => SafetensorsFile.Write(
        path,
        new Dictionary<string, Tensor> { ["master"] = master, ["first_moment"] = firstMoment, ["second_moment"] = secondMoment, ["average"] = average },
        new Dictionary<string, string> { ["steps"] = Steps.ToString(System.Globalization.CultureInfo.InvariantCulture) });

    /// <summary>Continues from a saved state.</summary>
    /// <exception cref="InvalidDataException">The state belongs to a model of another size.</exception>
    public void Load(string path)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var file = SafetensorsFile.Open(path);
        foreach (var (name, target) in new[] { ("master", master), ("first_moment", firstMoment), ("second_moment", secondMoment), ("average", average) })
        {
            var stored = file.Load(name);
            if (stored.numel() != target.numel())
            {
                throw new InvalidDataException($"{path} holds {stored.numel()} weights, this model has {target.numel()}. Delete the file to start over, or train with the configuration it was made with.");
            }

            target.copy_(stored);
        }

        Steps = long.Parse(file.Metadata["steps"], System.Globalization.CultureInfo.InvariantCulture);
        UseMaster();
    }

    public void Dispose()
    {
        foreach (var tensor in (Tensor[])[.. masterViews, .. averageViews, master, firstMoment, secondMoment, average])
        {
            tensor.Dispose();
        }
    }

    private Tensor[] Views(Tensor flat)
    {
        var offset = 0L;
        var views = new Tensor[parameters.Count];
        for (var i = 0; i < views.Length; i++)
        {
            views[i] = flat.narrow(0, offset, parameters[i].numel()).view(parameters[i].shape).DetachFromDisposeScope();
            offset += parameters[i].numel();
        }

        return views;
    }

    private void CopyTo(Tensor[] views)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        for (var i = 0; i < views.Length; i++)
        {
            parameters[i].copy_(views[i]);
        }
    }
}
