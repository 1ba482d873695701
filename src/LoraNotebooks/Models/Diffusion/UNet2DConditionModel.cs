using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>
/// The denoising network of Stable Diffusion 1.x and 2.x: from noisy latents, a timestep and the text's hidden states it predicts
/// the noise (or the velocity). Every sub-module bears diffusers' name, so checkpoints load and adapters find their targets by name.
/// </summary>
/// <remarks>Source: Ronneberger et al. 2015; Rombach et al. 2022; diffusers, models/unets/unet_2d_condition.py.</remarks>
public sealed class UNet2DConditionModel : Module<Tensor, Tensor, Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> conv_in;
    private readonly TimestepEmbedding time_embedding;
    private readonly ModuleList<UNetDownBlock> down_blocks;
    private readonly UNetMidBlock mid_block;
    private readonly ModuleList<UNetUpBlock> up_blocks;
    private readonly Module<Tensor, Tensor> conv_norm_out;
    private readonly Module<Tensor, Tensor> conv_out;

    /// <summary>Creates a network with PyTorch's default initialisation.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="generator">Where the initial weights come from; <see langword="null"/>: torch's global generator.</param>
    /// <exception cref="ArgumentException">The architecture is faulty or not supported; all faults are listed.</exception>
    public UNet2DConditionModel(UNetConfig config, Generator? generator = null)
        : base(nameof(UNet2DConditionModel))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        Config = config;
        var channels = config.BlockOutChannels;
        var timeDimension = 4 * channels[0];
        var resnet = new ResnetOptions(timeDimension, config.NormNumGroups, config.NormEps, config.Dropout);

        conv_in = Conv2d(config.InChannels, channels[0], kernel_size: 3, padding: 1);
        time_embedding = new TimestepEmbedding(channels[0], timeDimension);
        down_blocks = ModuleList(DownBlocks(config, resnet));
        up_blocks = ModuleList(UpBlocks(config, resnet));
        mid_block = new UNetMidBlock(channels[^1], resnet, config.MidTransformer());
        conv_norm_out = Layers.GroupNorm(config.NormNumGroups, channels[0], config.NormEps);
        conv_out = Conv2d(channels[0], config.OutChannels, kernel_size: 3, padding: 1);
        RegisterComponents();
        if (generator is not null)
        {
            ParameterInitialization.Reset(this, generator);
        }
    }

    /// <summary>The architecture.</summary>
    public UNetConfig Config { get; }

    /// <summary>Loads a diffusers <c>unet</c> folder (config.json and *.safetensors).</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="dtype">The type of the weights in memory, default float32 whatever the file's.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <returns>The network in evaluation mode.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">The configuration or the weights do not fit; all faults are listed.</exception>
    public static UNet2DConditionModel FromFolder(string folder, ScalarType? dtype = null, Device? device = null) =>
        ModelFolder.Load(folder, path => new UNet2DConditionModel(UNetConfig.Load(path)), dtype, device);

    /// <summary>Saves config.json and diffusion_pytorch_model.safetensors; each file is replaced whole or not at all.</summary>
    /// <param name="folder">The folder; it is created if need be.</param>
    /// <param name="dtype">The type of the weights in the file, default as in memory.</param>
    public void Save(string folder, ScalarType? dtype = null) =>
        ModelFolder.Save(this, folder, Config.ToJson(), ModelFolder.DiffusersWeights, dtype);

    /// <summary>Predicts the noise (or the velocity).</summary>
    /// <param name="sample">x_t, noisy latents, [N, InChannels, H, W]; H and W need not be multiples of anything.</param>
    /// <param name="timesteps">t, [N], or one for all: [1] or a scalar; whole or fractional.</param>
    /// <param name="encoderHiddenStates">c, the text's hidden states, [N, S, CrossAttentionDim].</param>
    /// <returns>[N, OutChannels, H, W].</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public override Tensor forward(Tensor sample, Tensor timesteps, Tensor encoderHiddenStates)
    {
        CheckShapes(sample, timesteps, encoderHiddenStates);
        using var scope = NewDisposeScope();
        var time = functional.silu(TimeEmbedding(timesteps, sample));

        var x = conv_in.call(sample);
        var skips = new Stack<Tensor>();
        skips.Push(x);
        foreach (var block in down_blocks)
        {
            foreach (var output in block.call(x, time, encoderHiddenStates))
            {
                skips.Push(output);
            }

            x = skips.Peek();
        }

        x = mid_block.call(x, time, encoderHiddenStates);
        foreach (var block in up_blocks)
        {
            x = block.call(x, skips, time, encoderHiddenStates);
        }

        return conv_out.call(functional.silu(conv_norm_out.call(x))).MoveToOuterDisposeScope();
    }

    /// <summary>τ, the conditioning of every residual block. Further conditions (image size, pooled text) would be added to it here.</summary>
    private Tensor TimeEmbedding(Tensor timesteps, Tensor sample)
    {
        var perSample = timesteps.to(sample.device).reshape(-1).expand(sample.shape[0]);
        var features = Timesteps.Embed(perSample, Config.BlockOutChannels[0], Config.FlipSinToCos, Config.FreqShift);
        return time_embedding.call(features.to(sample.dtype));
    }

    private static UNetDownBlock[] DownBlocks(UNetConfig config, ResnetOptions resnet)
    {
        var channels = config.BlockOutChannels;
        var lowest = channels.Count - 1;
        return [.. Enumerable.Range(0, channels.Count).Select(level => new UNetDownBlock(
            channels[Math.Max(level - 1, 0)],
            channels[level],
            config.LayersPerBlock[level],
            resnet,
            config.DownTransformer(level),
            level == lowest ? null : config.DownsamplePadding))];
    }

    private static UNetUpBlock[] UpBlocks(UNetConfig config, ResnetOptions resnet)
    {
        var channels = config.BlockOutChannels;
        var lowest = channels.Count - 1;
        return [.. Enumerable.Range(0, channels.Count).Select(i => lowest - i).Select(level => new UNetUpBlock(
            channels[Math.Min(level + 1, lowest)],
            channels[level],
            channels[Math.Max(level - 1, 0)],
            config.LayersPerBlock[level] + 1,
            resnet,
            config.UpTransformer(level),
            upsample: level > 0))];
    }

    private void CheckShapes(Tensor sample, Tensor timesteps, Tensor context)
    {
        if (sample.dim() != 4 || sample.shape[1] != Config.InChannels)
        {
            throw new ArgumentException($"sample: got {Shapes.Text(sample)}, expected [N, {Config.InChannels}, H, W].", nameof(sample));
        }

        var batch = sample.shape[0];
        var textSize = Config.CrossAttentionDim[0];
        if (timesteps.dim() > 1 || (timesteps.numel() != 1 && timesteps.numel() != batch))
        {
            throw new ArgumentException($"timesteps: got {Shapes.Text(timesteps)}, expected [{batch}], one per sample, or one for all.", nameof(timesteps));
        }

        if (context.dim() != 3 || context.shape[0] != batch || context.shape[2] != textSize)
        {
            throw new ArgumentException($"encoderHiddenStates: got {Shapes.Text(context)}, expected [{batch}, S, {textSize}]: the hidden states of this model's own text encoder.", nameof(context));
        }
    }
}
