using LoraNotebooks.Tensors;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>
/// The denoising network of Stable Diffusion 1.x, 2.x and XL: from noisy latents, a timestep and the text it predicts
/// the noise (or the velocity). Every sub-module bears diffusers' name, so checkpoints load and adapters find their targets by name.
/// </summary>
/// <remarks>Source: Ronneberger et al. 2015; Rombach et al. 2022; diffusers, models/unets/unet_2d_condition.py.</remarks>
public sealed class UNet2DConditionModel : Module<Tensor, Tensor, Conditioning, Tensor>
{
    private readonly Module<Tensor, Tensor> conv_in;
    private readonly TimestepEmbedding time_embedding;
    private readonly TimestepEmbedding? add_embedding;
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

        conv_in = Layers.Conv2d(config.InChannels, channels[0], kernel_size: 3, padding: 1);
        time_embedding = new TimestepEmbedding(channels[0], timeDimension);
        if (config.HasAddedConditions)
        {
            add_embedding = new TimestepEmbedding(config.ProjectionClassEmbeddingsInputDim!.Value, timeDimension);
        }

        down_blocks = ModuleList(DownBlocks(config, resnet));
        up_blocks = ModuleList(UpBlocks(config, resnet));
        mid_block = new UNetMidBlock(channels[^1], resnet, config.MidTransformer());
        conv_norm_out = Layers.GroupNorm(config.NormNumGroups, channels[0], config.NormEps);
        conv_out = Layers.Conv2d(channels[0], config.OutChannels, kernel_size: 3, padding: 1);
        RegisterComponents();
        Layers.ChannelsLast(this);
        if (generator is not null)
        {
            ParameterInitialization.Reset(this, generator);
        }
    }

    /// <summary>The architecture.</summary>
    public UNetConfig Config { get; }

    /// <summary>Loads a diffusers <c>unet</c> folder (config.json and *.safetensors).</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="dtype">The type of the weights in memory, whatever the file's; default as <see cref="ModelFolder.DefaultType"/> says.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <param name="variant">The files' variant, e.g. fp16 for <c>*.fp16.safetensors</c>; default the plain files, or the only ones there are.</param>
    /// <returns>The network in evaluation mode.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">The configuration or the weights do not fit; all faults are listed.</exception>
    public static UNet2DConditionModel FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null) =>
        ModelFolder.Load(folder, path =>
        {
            var config = UNetConfig.Load(path);
            ModelFolder.RequireWeights(folder, variant, WeightCount.Of(config));
            return new UNet2DConditionModel(config);
        }, dtype, device, variant);

    /// <summary>Saves config.json and diffusion_pytorch_model.safetensors; each file is replaced whole or not at all.</summary>
    /// <param name="folder">The folder; it is created if need be.</param>
    /// <param name="dtype">The type of the weights in the file, default as in memory.</param>
    public void Save(string folder, ScalarType? dtype = null) =>
        ModelFolder.Save(this, folder, Config.ToJson(), ModelFolder.DiffusersWeights, dtype);

    /// <summary>Predicts the noise (or the velocity).</summary>
    /// <param name="sample">x_t, noisy latents, [N, InChannels, H, W]; H and W need not be multiples of anything.</param>
    /// <param name="timesteps">t, [N], or one for all: [1] or a scalar; whole or fractional.</param>
    /// <param name="conditioning">
    /// The text's hidden states, [N, S, CrossAttentionDim]; where
    /// <see cref="UNetConfig.HasAddedConditions"/>, its pooled embedding and the sizes, too.
    /// </param>
    /// <returns>[N, OutChannels, H, W].</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public override Tensor forward(Tensor sample, Tensor timesteps, Conditioning conditioning)
    {
        CheckShapes(sample, timesteps, conditioning);
        using var scope = NewDisposeScope();
        var time = functional.silu(TimeEmbedding(timesteps, sample, conditioning));
        var context = conditioning.HiddenStates;

        var x = conv_in.call(sample);
        var skips = new Stack<Tensor>();
        skips.Push(x);
        foreach (var block in down_blocks)
        {
            foreach (var output in block.call(x, time, context))
            {
                skips.Push(output);
            }

            x = skips.Peek();
        }

        x = mid_block.call(x, time, context);
        foreach (var block in up_blocks)
        {
            x = block.call(x, skips, time, context);
        }

        return conv_out.call(functional.silu(conv_norm_out.call(x))).MoveToOuterDisposeScope();
    }

    /// <summary>τ, the conditioning of every residual block: the timestep's embedding, plus that of pooled text and sizes in SDXL.</summary>
    private Tensor TimeEmbedding(Tensor timesteps, Tensor sample, Conditioning conditioning)
    {
        var perSample = timesteps.to(sample.device).reshape(-1).expand(sample.shape[0]);
        var time = time_embedding.call(Features(perSample, Config.BlockOutChannels[0]).to(sample.dtype));
        if (add_embedding is null)
        {
            return time;
        }

        var sizes = Features(conditioning.TimeIds!.to(sample.device).flatten(), Config.AdditionTimeEmbedDim!.Value).reshape(sample.shape[0], -1);
        return time.Plus(add_embedding.call(cat([conditioning.TextEmbeds!, sizes], -1).to(sample.dtype)));

        Tensor Features(Tensor values, int dimension) => Timesteps.Embed(values, dimension, Config.FlipSinToCos, Config.FreqShift);
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

    private void CheckShapes(Tensor sample, Tensor timesteps, Conditioning conditioning)
    {
        ArgumentNullException.ThrowIfNull(conditioning);
        if (sample.dim() != 4 || sample.shape[1] != Config.InChannels)
        {
            throw new ArgumentException($"sample: got {Shapes.Text(sample.shape)}, expected [N, {Config.InChannels}, H, W].", nameof(sample));
        }

        var batch = sample.shape[0];
        var context = conditioning.HiddenStates;
        var textSize = Config.CrossAttentionDim[0];
        if (timesteps.dim() > 1 || (timesteps.numel() != 1 && timesteps.numel() != batch))
        {
            throw new ArgumentException(
                $"timesteps: got {Shapes.Text(timesteps.shape)}, expected [{batch}], one per sample, or one for all.",
                nameof(timesteps));
        }

        if (context.dim() != 3 || context.shape[0] != batch || context.shape[2] != textSize)
        {
            throw new ArgumentException(
                $"encoderHiddenStates: got {Shapes.Text(context.shape)}, expected [{batch}, S, {textSize}]: "
                    + "the hidden states of this model's own text encoder.",
                nameof(conditioning));
        }

        if (Config.HasAddedConditions)
        {
            CheckAdded("text_embeds", conditioning.TextEmbeds, batch, Config.TextEmbedsDim, "the pooled text of this model's second text encoder");
            CheckAdded("time_ids", conditioning.TimeIds, batch, SizeConditions.Count, "the sizes that SizeConditions gives");
        }
    }

    private static void CheckAdded(string name, Tensor? tensor, long batch, int size, string meaning)
    {
        if (tensor is null || !tensor.shape.SequenceEqual([batch, size]))
        {
            throw new ArgumentException(
                $"{name}: got {(tensor is null ? "none" : Shapes.Text(tensor.shape))}, expected [{batch}, {size}]: {meaning}.",
                nameof(tensor));
        }
    }
}
