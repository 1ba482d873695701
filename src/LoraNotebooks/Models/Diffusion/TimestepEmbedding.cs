using LoraNotebooks.Tensors;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>Sinusoidal features of a timestep.</summary>
/// <remarks>Source: Vaswani et al. 2017, section 3.5; diffusers, models/embeddings.py, <c>get_timestep_embedding</c>.</remarks>
public static class Timesteps
{
    private const double MaxPeriod = 10000;

    /// <summary>
    /// e_t = [cos(t·ω), sin(t·ω)] (or sin first), ω_i = 10000^(−i/(d/2 − shift)), i = 0 … d/2 − 1.
    /// </summary>
    /// <param name="timesteps">t, [N], whole or fractional.</param>
    /// <param name="dimension">d, the number of features; an odd one is padded with a zero.</param>
    /// <param name="flipSinToCos">Whether the cosines come first (Stable Diffusion: yes).</param>
    /// <param name="frequencyShift">The shift in the exponent's denominator (Stable Diffusion: 0).</param>
    /// <returns>[N, d], float32 on the timesteps' device.</returns>
    public static Tensor Embed(Tensor timesteps, int dimension, bool flipSinToCos, double frequencyShift)
    {
        using var scope = NewDisposeScope();
        var half = dimension / 2;
        var exponent = Arithmetic.Range(0, half, float32, timesteps.device).Times_(-Math.Log(MaxPeriod)).Over_(half - frequencyShift);
        var angles = timesteps.to(float32).unsqueeze(1) * exponent.exp_();
        var features = flipSinToCos ? cat([angles.cos(), angles.sin()], 1) : cat([angles.sin(), angles.cos()], 1);
        if (dimension % 2 == 1)
        {
            features = functional.pad(features, (0, 1));
        }

        return features.MoveToOuterDisposeScope();
    }
}

/// <summary>The two-layer network that turns timestep features into the conditioning vector of all residual blocks.</summary>
/// <remarks>Source: diffusers, models/embeddings.py, <c>TimestepEmbedding</c>.</remarks>
public sealed class TimestepEmbedding : Module<Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> linear_1;
    private readonly Module<Tensor, Tensor> linear_2;

    /// <summary>Creates the layers with PyTorch's default initialisation.</summary>
    /// <param name="inFeatures">The number of timestep features.</param>
    /// <param name="embeddingDimension">The size of the embedding.</param>
    public TimestepEmbedding(int inFeatures, int embeddingDimension)
        : base(nameof(TimestepEmbedding))
    {
        linear_1 = Layers.Linear(inFeatures, embeddingDimension);
        linear_2 = Layers.Linear(embeddingDimension, embeddingDimension);
        RegisterComponents();
    }

    /// <summary>W₂·silu(W₁·e + b₁) + b₂.</summary>
    /// <param name="input">e, [N, inFeatures].</param>
    /// <returns>[N, embeddingDimension].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        return linear_2.call(functional.silu(linear_1.call(input))).MoveToOuterDisposeScope();
    }
}
