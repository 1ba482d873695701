using LoraNotebooks.Tensors;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>The normal distribution of an image's latents, q(z|x) = N(μ, σ²) with independent elements.</summary>
/// <param name="Mean">μ, [N, LatentChannels, h, w].</param>
/// <param name="LogVariance">ln σ², the same shape, within [−30, 20].</param>
/// <remarks>Source: Kingma and Welling 2014; diffusers, models/autoencoders/vae.py, <c>DiagonalGaussianDistribution</c>.</remarks>
public readonly record struct LatentDistribution(Tensor Mean, Tensor LogVariance)
{
    /// <summary>σ = exp(½·ln σ²).</summary>
    /// <returns>[N, LatentChannels, h, w].</returns>
    public Tensor StandardDeviation()
    {
        using var scope = NewDisposeScope();
        return LogVariance.Times(0.5).exp_().MoveToOuterDisposeScope();
    }

    /// <summary>z = μ + σ·ε, ε ~ N(0, 1).</summary>
    /// <param name="generator">Where ε comes from.</param>
    /// <returns>[N, LatentChannels, h, w].</returns>
    public Tensor Sample(Generator generator)
    {
        using var scope = NewDisposeScope();
        var noise = randn(Mean.shape, Mean.dtype, Mean.device, generator: generator);
        return Sample(noise).MoveToOuterDisposeScope();
    }

    /// <summary>z = μ + σ·ε.</summary>
    /// <param name="noise">ε, the same shape.</param>
    /// <returns>[N, LatentChannels, h, w].</returns>
    public Tensor Sample(Tensor noise)
    {
        using var scope = NewDisposeScope();
        return Mean.PlusProduct(StandardDeviation(), noise).MoveToOuterDisposeScope();
    }

    /// <summary>KL(q‖N(0, 1)) = ½·Σ(μ² + σ² − 1 − ln σ²), summed over an image's latents.</summary>
    /// <returns>[N].</returns>
    public Tensor KullbackLeibler()
    {
        using var scope = NewDisposeScope();
        var elements = (Mean.Squared().Plus(LogVariance.exp()) - LogVariance).Minus(1);
        return elements.flatten(1).sum(1).Times_(0.5).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// The image autoencoder of Stable Diffusion: images in [−1, 1] become small latents and back. Its sub-modules bear diffusers' names.
/// </summary>
/// <remarks>Source: Kingma and Welling 2014; Rombach et al. 2022, section 3.1; diffusers, models/autoencoders/autoencoder_kl.py.</remarks>
public sealed class AutoencoderKL : Module<Tensor, Tensor>
{
    private const double MinLogVariance = -30;
    private const double MaxLogVariance = 20;

    private readonly VaeEncoder encoder;
    private readonly VaeDecoder decoder;
    private readonly Module<Tensor, Tensor>? quant_conv;
    private readonly Module<Tensor, Tensor>? post_quant_conv;

    /// <summary>Creates an autoencoder with PyTorch's default initialisation.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="generator">Where the initial weights come from; <see langword="null"/>: torch's global generator.</param>
    /// <exception cref="ArgumentException">The architecture is faulty or not supported; all faults are listed.</exception>
    public AutoencoderKL(AutoencoderKLConfig config, Generator? generator = null)
        : base(nameof(AutoencoderKL))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        Config = config;
        encoder = new VaeEncoder(config);
        decoder = new VaeDecoder(config);
        if (config.UseQuantConv)
        {
            quant_conv = Layers.Conv2d(2 * config.LatentChannels, 2 * config.LatentChannels, kernel_size: 1);
        }

        if (config.UsePostQuantConv)
        {
            post_quant_conv = Layers.Conv2d(config.LatentChannels, config.LatentChannels, kernel_size: 1);
        }

        RegisterComponents();
        if (generator is not null)
        {
            ParameterInitialization.Reset(this, generator);
        }
    }

    /// <summary>The architecture.</summary>
    public AutoencoderKLConfig Config { get; }

    /// <summary>The factor that brings the latents to about unit variance for the diffusion model.</summary>
    public double ScalingFactor => Config.ScalingFactor;

    /// <summary>f, how many pixels of a side one latent stands for.</summary>
    public int DownsamplingFactor => 1 << (Config.BlockOutChannels.Count - 1);

    /// <summary>Loads a diffusers <c>vae</c> folder (config.json and *.safetensors), also one with the attention names of diffusers before 0.18.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="dtype">
    /// The type of the weights in memory, whatever the file's; default as <see cref="ModelFolder.DefaultType"/> says. Float16 becomes
    /// float32 where <see cref="AutoencoderKLConfig.ForceUpcast"/>.
    /// </param>
    /// <param name="device">The device, default the CPU.</param>
    /// <param name="variant">The files' variant, e.g. fp16 for <c>*.fp16.safetensors</c>; default the plain files, or the only ones there are.</param>
    /// <returns>The autoencoder in evaluation mode.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">The configuration or the weights do not fit; all faults are listed.</exception>
    public static AutoencoderKL FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var config = AutoencoderKLConfig.Load(Path.Combine(folder, ModelFolder.Config));
        ModelFolder.RequireWeights(folder, variant, WeightCount.Of(config));
        return ModelFolder.Load(
            folder,
            _ => new AutoencoderKL(config),
            config.TypeInMemory(dtype ?? ModelFolder.DefaultType(device)),
            device,
            variant,
            CurrentName);
    }

    /// <summary>Saves config.json and diffusion_pytorch_model.safetensors; each file is replaced whole or not at all.</summary>
    /// <param name="folder">The folder; it is created if need be.</param>
    /// <param name="dtype">The type of the weights in the file, default as in memory.</param>
    public void Save(string folder, ScalarType? dtype = null) =>
        ModelFolder.Save(this, folder, Config.ToJson(), ModelFolder.DiffusersWeights, dtype);

    /// <summary>Encodes images to the distribution of their latents (not yet scaled, see <see cref="ScaleLatents"/>).</summary>
    /// <param name="pixels">x, [N, InChannels, H, W] in [−1, 1]; H and W are best multiples of <see cref="DownsamplingFactor"/>.</param>
    /// <returns>Mean and log variance, each [N, LatentChannels, H/f, W/f].</returns>
    /// <exception cref="ArgumentException">The shape does not fit.</exception>
    public LatentDistribution Encode(Tensor pixels)
    {
        Check(pixels, Config.InChannels, nameof(pixels));
        using var scope = NewDisposeScope();
        var moments = encoder.call(pixels);
        var halves = (quant_conv is null ? moments : quant_conv.call(moments)).chunk(2, 1);
        return new LatentDistribution(
            halves[0].MoveToOuterDisposeScope(),
            halves[1].Within(MinLogVariance, MaxLogVariance).MoveToOuterDisposeScope());
    }

    /// <summary>Decodes latents (not scaled ones, see <see cref="UnscaleLatents"/>) to images.</summary>
    /// <param name="latents">z, [N, LatentChannels, h, w].</param>
    /// <returns>[N, OutChannels, f·h, f·w], about in [−1, 1].</returns>
    /// <exception cref="ArgumentException">The shape does not fit.</exception>
    public Tensor Decode(Tensor latents)
    {
        Check(latents, Config.LatentChannels, nameof(latents));
        using var scope = NewDisposeScope();
        return decoder.call(post_quant_conv is null ? latents : post_quant_conv.call(latents)).MoveToOuterDisposeScope();
    }

    /// <summary>x₀ = (z − shift)·scaling factor: from the autoencoder's latents to the diffusion model's.</summary>
    /// <param name="latents">z, any shape.</param>
    /// <returns>The same shape.</returns>
    public Tensor ScaleLatents(Tensor latents)
    {
        using var scope = NewDisposeScope();
        return (Config.ShiftFactor is { } shift ? latents.Minus(shift) : latents).Times(ScalingFactor).MoveToOuterDisposeScope();
    }

    /// <summary>z = x₀/scaling factor + shift: from the diffusion model's latents to the autoencoder's.</summary>
    /// <param name="latents">x₀, any shape.</param>
    /// <returns>The same shape.</returns>
    public Tensor UnscaleLatents(Tensor latents)
    {
        using var scope = NewDisposeScope();
        var unscaled = latents.Over(ScalingFactor);
        return (Config.ShiftFactor is { } shift ? unscaled.Plus(shift) : unscaled).MoveToOuterDisposeScope();
    }

    /// <summary>The reconstruction from the mean of the latents.</summary>
    /// <param name="input">[N, InChannels, H, W] in [−1, 1].</param>
    /// <returns>[N, OutChannels, H, W].</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        return Decode(Encode(input).Mean).MoveToOuterDisposeScope();
    }

    /// <summary>SD 1.x was published with other names for the attention's four projections.</summary>
    private static string CurrentName(string name) => name
        .Replace(".attentions.0.query.", ".attentions.0.to_q.", StringComparison.Ordinal)
        .Replace(".attentions.0.key.", ".attentions.0.to_k.", StringComparison.Ordinal)
        .Replace(".attentions.0.value.", ".attentions.0.to_v.", StringComparison.Ordinal)
        .Replace(".attentions.0.proj_attn.", ".attentions.0.to_out.0.", StringComparison.Ordinal);

    private static void Check(Tensor tensor, int channels, string name)
    {
        if (tensor.dim() != 4 || tensor.shape[1] != channels)
        {
            throw new ArgumentException($"{name}: got {Shapes.Text(tensor.shape)}, expected [N, {channels}, height, width].", name);
        }
    }
}
