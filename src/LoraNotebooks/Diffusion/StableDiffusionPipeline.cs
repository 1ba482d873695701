using LoraNotebooks.Data;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Text to image with latent diffusion (Rombach et al. 2022, arXiv:2112.10752): tokenizer and text encoder turn the prompt into hidden
/// states, a sampler walks from noise to latents by the UNet's predictions, the autoencoder decodes them to pixels.
/// </summary>
public sealed class StableDiffusionPipeline : IDisposable
{
    /// <summary>Puts components together; the pipeline then owns them.</summary>
    /// <param name="tokenizer">The prompt's tokenizer.</param>
    /// <param name="textEncoder">The text encoder.</param>
    /// <param name="unet">The denoising network.</param>
    /// <param name="vae">The autoencoder.</param>
    /// <param name="scheduler">The noise schedule that the network was trained with, and the sampler's settings.</param>
    /// <exception cref="ArgumentException">The components do not fit each other; everything is listed.</exception>
    public StableDiffusionPipeline(ClipTokenizer tokenizer, ClipTextModel textEncoder, UNet2DConditionModel unet, AutoencoderKL vae, SchedulerConfig scheduler)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(textEncoder);
        ArgumentNullException.ThrowIfNull(unet);
        ArgumentNullException.ThrowIfNull(vae);
        ArgumentNullException.ThrowIfNull(scheduler);
        (Tokenizer, TextEncoder, UNet, Vae, Scheduler) = (tokenizer, textEncoder, unet, vae, scheduler);

        var text = textEncoder.Config;
        var faults = new ConfigFaults();
        faults.AddRange(scheduler.Validate());
        faults.Require(tokenizer.VocabularySize <= text.VocabSize, $"the tokenizer has {tokenizer.VocabularySize} tokens, the text encoder only {text.VocabSize} embeddings");
        faults.Require(tokenizer.ModelMaxLength <= text.MaxPositionEmbeddings, $"the tokenizer pads to {tokenizer.ModelMaxLength} tokens, the text encoder has only {text.MaxPositionEmbeddings} positions");
        faults.Require(unet.Config.CrossAttentionDim.All(size => size == text.HiddenSize), $"the text encoder gives hidden states of size {text.HiddenSize}, the UNet expects {unet.Config.CrossAttentionDim}");
        faults.Require(unet.Config.InChannels == vae.Config.LatentChannels, $"the autoencoder has {vae.Config.LatentChannels} latent channels, the UNet takes {unet.Config.InChannels}");
        ConfigFaults.ThrowIfAny(faults.All);
    }

    /// <summary>The prompt's tokenizer.</summary>
    public ClipTokenizer Tokenizer { get; }

    /// <summary>The text encoder.</summary>
    public ClipTextModel TextEncoder { get; }

    /// <summary>The denoising network.</summary>
    public UNet2DConditionModel UNet { get; }

    /// <summary>The autoencoder between pixels and latents.</summary>
    public AutoencoderKL Vae { get; }

    /// <summary>The noise schedule that the network was trained with, and the sampler's settings.</summary>
    public SchedulerConfig Scheduler { get; }

    /// <summary>The side in pixels of the images that the model was trained with.</summary>
    public int NativeSize => (UNet.Config.SampleSize ?? 64) * Vae.DownsamplingFactor;

    private Device Device => UNet.parameters().First().device;

    /// <summary>Loads a Stable Diffusion model from its folder in diffusers layout.</summary>
    /// <param name="folder">The folder with model_index.json; the embedded base is at <see cref="BaseModel.Folder"/>.</param>
    /// <param name="dtype">The type of the weights in memory, default float32.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <exception cref="FileNotFoundException">Something is missing: all of it is named.</exception>
    /// <exception cref="InvalidDataException">The folder holds something else, or damaged files.</exception>
    public static StableDiffusionPipeline FromFolder(string folder, ScalarType? dtype = null, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        PipelineFolder.Check(folder);
        var scheduler = SchedulerConfig.Load(PipelineFolder.SchedulerPath(folder));
        var tokenizer = ClipTokenizer.FromFolder(Path.Combine(folder, "tokenizer"));
        var loaded = new List<IDisposable>();
        try
        {
            var textEncoder = Keep(ClipTextModel.FromFolder(Path.Combine(folder, "text_encoder"), dtype, device));
            var unet = Keep(UNet2DConditionModel.FromFolder(Path.Combine(folder, "unet"), dtype, device));
            var vae = Keep(AutoencoderKL.FromFolder(Path.Combine(folder, "vae"), dtype, device));
            return new StableDiffusionPipeline(tokenizer, textEncoder, unet, vae, scheduler);
        }
        catch
        {
            loaded.ForEach(component => component.Dispose());
            throw;
        }

        T Keep<T>(T component)
            where T : IDisposable
        {
            loaded.Add(component);
            return component;
        }
    }

    /// <summary>Writes the folder that <see cref="FromFolder"/> and diffusers read; each file is replaced whole or not at all.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="dtype">The type of the weights in the files, default as in memory.</param>
    public void Save(string folder, ScalarType? dtype = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        Tokenizer.Save(Path.Combine(folder, "tokenizer"));
        TextEncoder.Save(Path.Combine(folder, "text_encoder"), dtype);
        UNet.Save(Path.Combine(folder, "unet"), dtype);
        Vae.Save(Path.Combine(folder, "vae"), dtype);
        PipelineFolder.WriteIndex(folder, Scheduler);
    }

    /// <summary>Token ids of prompts, padded and truncated to the tokenizer's length.</summary>
    /// <param name="prompts">N texts.</param>
    /// <returns>[N, T], int64.</returns>
    public Tensor Tokenize(IReadOnlyList<string> prompts)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        using var scope = NewDisposeScope();
        return PromptTokens.Of(Tokenizer, prompts).ToTensor(Device).MoveToOuterDisposeScope();
    }

    /// <summary>The hidden states that condition the UNet. No gradient is recorded.</summary>
    /// <param name="prompts">N texts.</param>
    /// <param name="clipSkip">1 (default) for the last layer's states, 2 for those of the layer before, …</param>
    /// <param name="reading">The length of the texts and the meaning of brackets in them. Default one chunk, and none.</param>
    /// <returns>[N, T, D], T growing with the chunks.</returns>
    public Tensor EncodePrompts(IReadOnlyList<string> prompts, int clipSkip = 1, PromptReading? reading = null)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var tokens = PromptTokens.Of(Tokenizer, prompts, reading);
        return tokens.Join(TextEncoder.HiddenStates(tokens.ToTensor(Device), clipSkip)).MoveToOuterDisposeScope();
    }

    /// <summary>Draws images.</summary>
    /// <param name="options">What to draw and how.</param>
    /// <param name="cancellationToken">Ends the run between two steps.</param>
    /// <param name="progress">Told the number of steps done so far, over all batches.</param>
    /// <returns><see cref="GenerationOptions.Count"/> images; image i is the one of seed <see cref="GenerationOptions.Seed"/> + i, whatever it is generated with.</returns>
    /// <exception cref="ArgumentException">The options have faults, or the size is not a multiple of the autoencoder's factor.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public IReadOnlyList<RgbImage> Generate(GenerationOptions options, CancellationToken cancellationToken = default, IProgress<int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.ThrowIfInvalid();
        var latentShape = LatentShape(options.Width ?? NativeSize, options.Height ?? NativeSize);
        var scheduler = Scheduler.With(options.Spacing);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var prompt = EncodePrompts([options.Prompt], options.ClipSkip, options.Reading);
        var negative = options.Guidance == 1 ? null : EncodePrompts([options.NegativePrompt], options.ClipSkip, options.Reading);

        var images = new List<RgbImage>();
        var stepsDone = 0;
        foreach (var seeds in Enumerable.Range(0, options.Count).Select(i => options.Seed + i).Chunk(options.BatchSize))
        {
            using var batchScope = NewDisposeScope();
            using var noise = new SeededNoise(seeds, latentShape, Device);
            using var sampler = Sampler.Create(scheduler, options.Steps, options.Sampler, options.Eta);
            var latents = Denoise(noise.Draw(), prompt, negative, sampler, options.Guidance, noise.Draw, cancellationToken, _ => progress?.Report(++stepsDone));
            images.AddRange(Decode(latents).cpu().unbind().Select(RgbImage.FromTensor));
        }

        return images;
    }

    /// <summary>Walks from noise to latents.</summary>
    /// <param name="noise">Standard normal noise, [N, C, h, w].</param>
    /// <param name="promptEmbeddings">The prompts' hidden states, [N, T, D] or [1, T, D] for all.</param>
    /// <param name="negativeEmbeddings">The negative prompts', likewise; not needed when <paramref name="guidance"/> is 1.</param>
    /// <param name="sampler">A new sampler for this run.</param>
    /// <param name="guidance">g of classifier-free guidance; 1 is none.</param>
    /// <param name="stepNoise">Draws noise like <paramref name="noise"/> for samplers that add some.</param>
    /// <param name="cancellationToken">Ends the run between two steps.</param>
    /// <param name="stepDone">Told the number of steps done after each.</param>
    /// <returns>Latents on the diffusion model's scale, float32 [N, C, h, w]; <see cref="Decode"/> makes pixels of them.</returns>
    /// <exception cref="ArgumentException">Guidance needs a negative prompt's hidden states.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public Tensor Denoise(
        Tensor noise,
        Tensor promptEmbeddings,
        Tensor? negativeEmbeddings,
        Sampler sampler,
        double guidance,
        Func<Tensor>? stepNoise = null,
        CancellationToken cancellationToken = default,
        Action<int>? stepDone = null)
    {
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(promptEmbeddings);
        ArgumentNullException.ThrowIfNull(sampler);
        if (guidance != 1 && negativeEmbeddings is null)
        {
            throw new ArgumentException($"Guidance {guidance} compares with a negative prompt; pass its hidden states (those of the empty text will do), or guidance 1.", nameof(negativeEmbeddings));
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var context = PerImage(promptEmbeddings, noise.size(0));
        if (guidance != 1)
        {
            context = cat([PerImage(negativeEmbeddings!, noise.size(0)), context]);
        }

        var latents = noise.to(ScalarType.Float32) * sampler.InitialNoiseSigma;
        for (var step = 0; step < sampler.Timesteps.Count; step++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            using var stepScope = NewDisposeScope();
            var prediction = Predict(sampler.ScaleModelInput(latents, step), sampler.Timesteps[step], context, guidance);
            var next = sampler.Step(prediction, step, latents, stepNoise).MoveToOuterDisposeScope();
            latents.Dispose();
            latents = next;
            stepDone?.Invoke(step + 1);
        }

        return latents.MoveToOuterDisposeScope();
    }

    /// <summary>Decodes latents of the diffusion model to pixels.</summary>
    /// <param name="latents">[N, C, h, w], as <see cref="Denoise"/> returns them.</param>
    /// <returns>float32 [N, 3, H, W], about in [−1, 1].</returns>
    public Tensor Decode(Tensor latents)
    {
        ArgumentNullException.ThrowIfNull(latents);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var unscaled = Vae.UnscaleLatents(latents).to(Vae.parameters().First().dtype);
        return Vae.Decode(unscaled).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>Frees the networks.</summary>
    public void Dispose()
    {
        TextEncoder.Dispose();
        UNet.Dispose();
        Vae.Dispose();
    }

    /// <summary>The UNet's answer under classifier-free guidance: uncond + g·(cond − uncond), both halves in one batch.</summary>
    private Tensor Predict(Tensor input, double timestep, Tensor context, double guidance)
    {
        using var scope = NewDisposeScope();
        var dtype = UNet.parameters().First().dtype;
        var batch = guidance == 1 ? input : cat([input, input]);
        var timesteps = full([batch.size(0)], timestep, ScalarType.Float32, batch.device);
        var prediction = UNet.call(batch.to(dtype), timesteps, context.to(dtype)).to(ScalarType.Float32);
        if (guidance != 1)
        {
            var halves = prediction.chunk(2);
            prediction = halves[0] + guidance * (halves[1] - halves[0]);
        }

        return prediction.MoveToOuterDisposeScope();
    }

    private long[] LatentShape(int width, int height)
    {
        var factor = Vae.DownsamplingFactor;
        return width % factor == 0 && height % factor == 0
            ? [UNet.Config.InChannels, height / factor, width / factor]
            : throw new ArgumentException($"Got an image size of {width} × {height} pixels; expected multiples of {factor}, by which the autoencoder shrinks images. The nearest are {Nearest(width)} × {Nearest(height)}.");

        int Nearest(int side) => Math.Max((int)Math.Round((double)side / factor), 1) * factor;
    }

    private static Tensor PerImage(Tensor embeddings, long count) => embeddings.size(0) == count ? embeddings.alias() : embeddings.expand(count, -1, -1);
}
