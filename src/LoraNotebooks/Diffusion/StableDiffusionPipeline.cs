using LoraNotebooks.Data;
using LoraNotebooks.Hub;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Text to image with latent diffusion (Rombach et al. 2022, arXiv:2112.10752; SDXL: Podell et al. 2023, arXiv:2307.01952): tokenizers and
/// text encoders turn the prompt into a <see cref="Conditioning"/>, a sampler walks from noise to latents by the UNet's predictions,
/// the autoencoder decodes them to pixels.
/// </summary>
public sealed class StableDiffusionPipeline : IDisposable
{
    /// <summary>Puts the components of Stable Diffusion 1.x or 2.x together; the pipeline then owns them.</summary>
    /// <param name="tokenizer">The prompt's tokenizer.</param>
    /// <param name="textEncoder">The text encoder.</param>
    /// <param name="unet">The denoising network.</param>
    /// <param name="vae">The autoencoder.</param>
    /// <param name="scheduler">The noise schedule that the network was trained with, and the sampler's settings.</param>
    /// <exception cref="ArgumentException">The components do not fit each other; everything is listed.</exception>
    public StableDiffusionPipeline(ClipTokenizer tokenizer, ClipTextModel textEncoder, UNet2DConditionModel unet, AutoencoderKL vae, SchedulerConfig scheduler)
        : this(new TextEncoders(tokenizer, textEncoder), unet, vae, scheduler)
    {
    }

    /// <summary>Puts components together, those of SDXL, too; the pipeline then owns them.</summary>
    /// <param name="text">The tokenizers and text encoders.</param>
    /// <param name="unet">The denoising network.</param>
    /// <param name="vae">The autoencoder.</param>
    /// <param name="scheduler">The noise schedule that the network was trained with, and the sampler's settings.</param>
    /// <exception cref="ArgumentException">The components do not fit each other; everything is listed.</exception>
    public StableDiffusionPipeline(TextEncoders text, UNet2DConditionModel unet, AutoencoderKL vae, SchedulerConfig scheduler)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(unet);
        ArgumentNullException.ThrowIfNull(vae);
        ArgumentNullException.ThrowIfNull(scheduler);
        (Text, UNet, Vae, Scheduler) = (text, unet, vae, scheduler);
        Faults.ThrowIfAny(Misfits(text, unet, vae, scheduler));
    }

    /// <summary>The tokenizers and text encoders, two of each in SDXL.</summary>
    public TextEncoders Text { get; }

    /// <summary>The prompt's tokenizer, in SDXL that of the first text encoder.</summary>
    public ClipTokenizer Tokenizer => Text.Tokenizers[0];

    /// <summary>The text encoder, in SDXL the first.</summary>
    public ClipTextModel TextEncoder => Text.Encoders[0];

    /// <summary>SDXL's second text encoder, else <see langword="null"/>.</summary>
    public ClipTextModel? TextEncoder2 => Text.IsDual ? Text.Encoders[1] : null;

    /// <summary>The denoising network.</summary>
    public UNet2DConditionModel UNet { get; }

    /// <summary>The autoencoder between pixels and latents.</summary>
    public AutoencoderKL Vae { get; }

    /// <summary>The noise schedule that the network was trained with, and the sampler's settings.</summary>
    public SchedulerConfig Scheduler { get; }

    /// <summary>The side in pixels of the images that the model was trained with.</summary>
    public int NativeSize => (UNet.Config.SampleSize ?? 64) * Vae.DownsamplingFactor;

    private Device Device => UNet.parameters().First().device;

    /// <summary>Loads a Stable Diffusion model, 1.x, 2.x or XL, from its folder in diffusers layout.</summary>
    /// <param name="folder">The folder with model_index.json; the embedded base is at <see cref="BaseModel.Folder"/>.</param>
    /// <param name="dtype">The type of the weights in memory; default as <see cref="ModelFolder.DefaultType"/> says.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <param name="variant">The files' variant, e.g. fp16 for <c>*.fp16.safetensors</c>; default the plain files, or the only ones there are.</param>
    /// <exception cref="FileNotFoundException">Something is missing: all of it is named.</exception>
    /// <exception cref="InvalidDataException">The folder holds something else, or damaged files.</exception>
    public static StableDiffusionPipeline FromFolder(string folder, ScalarType? dtype = null, Device? device = null, string? variant = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var index = PipelineFolder.Read(folder);
        var scheduler = SchedulerConfig.Load(PipelineFolder.SchedulerPath(folder));
        var loaded = new List<IDisposable>();
        try
        {
            var encoder = TextModel("text_encoder");
            var text = index.IsXL
                ? new TextEncoders(TokenizerOf("tokenizer"), encoder, TokenizerOf("tokenizer_2"), TextModel("text_encoder_2"))
                {
                    ForceZerosForEmptyPrompt = index.ForceZeros,
                }
                : new TextEncoders(TokenizerOf("tokenizer"), encoder);
            var unet = Keep(UNet2DConditionModel.FromFolder(Path.Combine(folder, "unet"), dtype, device, variant));
            var vae = Keep(AutoencoderKL.FromFolder(Path.Combine(folder, "vae"), dtype, device, variant));
            Faults.ThrowIfAnyIn(folder, Misfits(text, unet, vae, scheduler));
            return new StableDiffusionPipeline(text, unet, vae, scheduler) { Source = Path.GetFullPath(folder) };
        }
        catch
        {
            loaded.ForEach(component => component.Dispose());
            throw;
        }

        ClipTokenizer TokenizerOf(string part) => ClipTokenizer.FromFolder(Path.Combine(folder, part));

        ClipTextModel TextModel(string part) => Keep(ClipTextModel.FromFolder(Path.Combine(folder, part), dtype, device, variant));

        T Keep<T>(T component)
            where T : IDisposable
        {
            loaded.Add(component);
            return component;
        }
    }

    /// <summary>Loads a Stable Diffusion model from one .safetensors file under the names of the original code, as WebUI and ComfyUI use them.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">What the file does not tell: the tokenizer, and configurations of unusual sizes; default what lies in the file's folder.</param>
    /// <param name="dtype">The type of the weights in memory; default as <see cref="ModelFolder.DefaultType"/> says.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <exception cref="FileNotFoundException">The file or the tokenizer is missing.</exception>
    /// <exception cref="InvalidDataException">
    /// The file is a pickle or another kind of model; tensors that are missing, misshapen or unknown are all listed.
    /// </exception>
    /// <exception cref="ArgumentException">Something that the file does not tell is not given.</exception>
    /// <remarks>The architecture is read off the tensors' shapes unless a configuration is given.</remarks>
    public static StableDiffusionPipeline FromFile(string path, SingleFileOptions? options = null, ScalarType? dtype = null, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        var pipeline = SingleFile.Load(path, options ?? new SingleFileOptions(), dtype, device);
        pipeline.Source = Path.GetFullPath(path);
        return pipeline;
    }

    /// <summary>The folder or file that this was loaded from; <see langword="null"/> for components that were put together.</summary>
    public string? Source { get; private set; }

    /// <summary>
    /// Its name on the hub at its commit, <c>org/name@commit</c>, where it was loaded from the Hugging Face cache; else <see langword="null"/>.
    /// </summary>
    public string? HubName => Source is null ? null : HubCache.SnapshotOf(Source)?.ToString();

    /// <summary>
    /// SHA-256 of each network's weights as they are in memory now, so that a merged LoRA or another type of the numbers tells; some seconds for a
    /// model of gigabytes. It is no hash of files: two files of the same weights have the same one.
    /// </summary>
    /// <returns>
    /// 64 hexadecimal digits by network: unet, vae, text_encoder and, in SDXL, text_encoder_2. Adapters beside the networks do not count, nor does the layout.
    /// </returns>
    public IReadOnlyDictionary<string, string> HashWeights() =>
        new (string Name, nn.Module? Network)[] { ("unet", UNet), ("vae", Vae), ("text_encoder", TextEncoder), ("text_encoder_2", TextEncoder2) }
            .Where(static part => part.Network is not null)
            .ToDictionary(static part => part.Name, static part => WeightsHash.Of(part.Network!), StringComparer.Ordinal);

    /// <summary>
    /// Loads a Stable Diffusion model from wherever it is: a folder in diffusers layout, one original .safetensors file, or the Hugging Face cache.
    /// </summary>
    /// <param name="source">
    /// The folder, see <see cref="FromFolder"/>, the file, see <see cref="FromFile"/>, or <c>org/name[@revision]</c>, see <see cref="ModelSource.Resolve"/>.
    /// Nothing is downloaded here: <c>lora-notebooks model download org/name</c>, or <see cref="ModelSource.ResolveOrDownloadAsync"/>.
    /// </param>
    /// <param name="dtype">The type of the weights in memory; default as <see cref="ModelFolder.DefaultType"/> says.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <exception cref="FileNotFoundException">There is no such model, or something of it is missing; the message lists where it was looked for.</exception>
    /// <exception cref="InvalidDataException">It is something else, or damaged.</exception>
    public static StableDiffusionPipeline Load(string source, ScalarType? dtype = null, Device? device = null)
    {
        var path = ModelSource.Resolve(source);
        return File.Exists(path) ? FromFile(path, dtype: dtype, device: device) : FromFolder(path, dtype, device);
    }

    /// <summary>Writes the folder that <see cref="FromFolder"/> and diffusers read; each file is replaced whole or not at all.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="dtype">The type of the weights in the files, default as in memory.</param>
    /// <exception cref="ArgumentException">Weights are too large for the type; nothing is written.</exception>
    public void Save(string folder, ScalarType? dtype = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        foreach (var network in Text.Encoders.Cast<nn.Module>().Append(UNet).Append(Vae))
        {
            ModelFolder.RequireHeldBy(network, dtype);
        }

        foreach (var (tokenizer, encoder, suffix) in Text.Tokenizers.Zip(Text.Encoders, ["", "_2"]))
        {
            tokenizer.Save(Path.Combine(folder, "tokenizer" + suffix));
            encoder.Save(Path.Combine(folder, "text_encoder" + suffix), dtype);
        }

        UNet.Save(Path.Combine(folder, "unet"), dtype);
        Vae.Save(Path.Combine(folder, "vae"), dtype);
        PipelineFolder.WriteIndex(folder, Scheduler, new PipelineIndex(Text.IsDual, Text.ForceZerosForEmptyPrompt));
    }

    /// <summary>Token ids of prompts, padded and truncated to the tokenizer's length.</summary>
    /// <param name="prompts">N texts.</param>
    /// <returns>int64 [N, T]; in SDXL [2, N, T], one for each encoder.</returns>
    public Tensor Tokenize(IReadOnlyList<string> prompts) => Text.Tokenize(prompts);

    /// <summary>What conditions the UNet. No gradient is recorded.</summary>
    /// <param name="prompts">N texts.</param>
    /// <param name="clipSkip">1 (default) for the states that the model was trained with, 2 for those of the layer before, …</param>
    /// <param name="sizes">SDXL: the sizes that the model is told. Default a whole picture of <see cref="NativeSize"/>.</param>
    /// <param name="reading">The length of the texts and the meaning of brackets in them. Default one chunk, and none.</param>
    /// <returns>The hidden states [N, T, D], T growing with the chunks, in SDXL with pooled text and sizes.</returns>
    public Conditioning EncodePrompts(IReadOnlyList<string> prompts, int clipSkip = 1, SizeConditions? sizes = null, PromptReading? reading = null)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        return (Text.Encode(prompts, clipSkip, reading) with { TimeIds = TimeIds(prompts.Count, sizes) }).MoveToOuterDisposeScope();
    }

    /// <summary>The sizes that SDXL is told.</summary>
    /// <param name="count">N, the number of pictures.</param>
    /// <param name="sizes">The sizes, default a whole picture of <see cref="NativeSize"/>.</param>
    /// <returns>float32 [N, 6]; <see langword="null"/> in a model that is told none.</returns>
    public Tensor? TimeIds(int count, SizeConditions? sizes = null) =>
        TimeIds(Enumerable.Repeat(sizes ?? SizeConditions.Whole(NativeSize, NativeSize), count));

    /// <summary>The sizes that SDXL is told, of pictures that differ in them.</summary>
    /// <param name="sizes">Those of N pictures.</param>
    /// <returns>float32 [N, 6]; <see langword="null"/> in a model that is told none.</returns>
    public Tensor? TimeIds(IEnumerable<SizeConditions> sizes)
    {
        if (!UNet.Config.HasAddedConditions)
        {
            return null;
        }

        using var scope = NewDisposeScope();
        return cat([.. sizes.Select(size => size.ToTensor(Device))]).MoveToOuterDisposeScope();
    }

    /// <summary>Draws images.</summary>
    /// <param name="options">What to draw and how.</param>
    /// <param name="cancellationToken">Ends the run between two steps.</param>
    /// <param name="progress">Told the number of steps done so far, over all batches.</param>
    /// <returns>
    /// <see cref="GenerationOptions.Count"/> images; image i is the one of seed <see cref="ImageOptions.Seed"/> + i, whatever it is generated with.
    /// </returns>
    /// <exception cref="ArgumentException">The options have faults, or the size is not a multiple of the autoencoder's factor.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    /// <exception cref="NotFiniteException">A step or the autoencoder gave numbers that are not finite; the message says which and what to do.</exception>
    public IReadOnlyList<RgbImage> Generate(GenerationOptions options, CancellationToken cancellationToken = default, IProgress<int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.ThrowIfInvalid();
        var latentShape = LatentShape(options.Width ?? NativeSize, options.Height ?? NativeSize);
        var scheduler = Scheduler.With(options.Spacing);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var sizes = SizeConditions.Whole(options.Width ?? NativeSize, options.Height ?? NativeSize);
        Text.TellUnseen("prompt", [options.Prompt], options.Reading);
        Text.TellUnseen("negative prompt", options.Guidance == 1 ? [] : [options.NegativePrompt], options.Reading);
        Text.TellUnused(options.Guidance == 1 ? options.NegativePrompt : "", options.Reading);
        var prompt = EncodePrompts([options.Prompt], options.ClipSkip, sizes, options.Reading);
        var negative = options.Guidance == 1 ? null
            : options.NegativePrompt.Length == 0 && Text.ForceZerosForEmptyPrompt ? prompt.Zeros()
            : EncodePrompts([options.NegativePrompt], options.ClipSkip, sizes, options.Reading);

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
    /// <param name="prompt">What <see cref="EncodePrompts"/> gave for the N prompts, or for one prompt for all.</param>
    /// <param name="negative">The negative prompts', likewise; not needed when <paramref name="guidance"/> is 1.</param>
    /// <param name="sampler">A new sampler for this run.</param>
    /// <param name="guidance">g of classifier-free guidance; 1 is none.</param>
    /// <param name="stepNoise">Draws noise like <paramref name="noise"/> for samplers that add some.</param>
    /// <param name="cancellationToken">Ends the run between two steps.</param>
    /// <param name="stepDone">Told the number of steps done after each.</param>
    /// <returns>Latents on the diffusion model's scale, float32 [N, C, h, w]; <see cref="Decode"/> makes pixels of them.</returns>
    /// <exception cref="ArgumentException">Guidance needs a negative prompt's hidden states.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    /// <exception cref="NotFiniteException">A step gave latents that are not finite.</exception>
    public Tensor Denoise(
        Tensor noise,
        Conditioning prompt,
        Conditioning? negative,
        Sampler sampler,
        double guidance,
        Func<Tensor>? stepNoise = null,
        CancellationToken cancellationToken = default,
        Action<int>? stepDone = null)
    {
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(prompt);
        ArgumentNullException.ThrowIfNull(sampler);
        if (guidance != 1 && negative is null)
        {
            throw new ArgumentException(
                $"Guidance {guidance} compares with a negative prompt; pass what it is encoded to (the empty text will do), or guidance 1.",
                nameof(negative));
        }

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var context = prompt.For(noise.size(0));
        if (guidance != 1)
        {
            context = Conditioning.Concat([negative!.For(noise.size(0)), context]);
        }

        var latents = noise.to(ScalarType.Float32).Times(sampler.InitialNoiseSigma);
        for (var step = 0; step < sampler.Timesteps.Count; step++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            using var stepScope = NewDisposeScope();
            var prediction = Predict(sampler.ScaleModelInput(latents, step), sampler.Timesteps[step], context, guidance);
            var next = sampler.Step(prediction, step, latents, stepNoise).MoveToOuterDisposeScope();
            latents.Dispose();
            latents = next;
            RequireFinite(latents, step, sampler.Timesteps.Count, guidance);
            stepDone?.Invoke(step + 1);
        }

        return latents.MoveToOuterDisposeScope();
    }

    /// <summary>Decodes latents of the diffusion model to pixels.</summary>
    /// <param name="latents">[N, C, h, w], as <see cref="Denoise"/> returns them.</param>
    /// <returns>float32 [N, 3, H, W], about in [−1, 1].</returns>
    /// <exception cref="NotFiniteException">The pixels are not finite.</exception>
    public Tensor Decode(Tensor latents)
    {
        ArgumentNullException.ThrowIfNull(latents);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var unscaled = Vae.UnscaleLatents(latents).to(Vae.parameters().First().dtype);
        var pixels = Vae.Decode(unscaled).to(ScalarType.Float32);
        return Finite.Is(pixels)
            ? pixels.MoveToOuterDisposeScope()
            : throw new NotFiniteException(
                $"The autoencoder, which computes in {unscaled.dtype}, gave pixels that are not finite, so there is no picture. "
                + (unscaled.dtype == ScalarType.Float16
                    ? "Many autoencoders overflow in Float16: load the model as BFloat16 or Float32."
                    : "Expected finite latents and weights; download the model again."));
    }

    /// <summary>Frees the networks.</summary>
    public void Dispose()
    {
        Text.Dispose();
        UNet.Dispose();
        Vae.Dispose();
    }

    /// <summary>Everything in which components do not fit each other.</summary>
    internal static IReadOnlyList<string> Misfits(TextEncoders text, UNet2DConditionModel unet, AutoencoderKL vae, SchedulerConfig scheduler)
    {
        var faults = new Faults();
        faults.AddRange(scheduler.Validate());
        faults.AddRange(text.Validate(unet.Config));
        faults.Require(
            unet.Config.InChannels == vae.Config.LatentChannels,
            $"the autoencoder has {vae.Config.LatentChannels} latent channels, the UNet expects {unet.Config.InChannels}");
        return faults;
    }

    /// <summary>The UNet's answer under classifier-free guidance: uncond + g·(cond − uncond), both halves in one batch.</summary>
    private Tensor Predict(Tensor input, double timestep, Conditioning context, double guidance)
    {
        using var scope = NewDisposeScope();
        var dtype = UNet.parameters().First().dtype;
        var batch = guidance == 1 ? input : cat([input, input]);
        var timesteps = Arithmetic.Full([batch.size(0)], timestep, ScalarType.Float32, batch.device);
        var prediction = UNet.call(batch.to(dtype), timesteps, context.To(dtype)).to(ScalarType.Float32);
        if (guidance != 1)
        {
            var halves = prediction.chunk(2);
            prediction = halves[0].Plus((halves[1] - halves[0]).Times(guidance));
        }

        return prediction.MoveToOuterDisposeScope();
    }

    private void RequireFinite(Tensor latents, int step, int steps, double guidance)
    {
        if (!Finite.Is(latents))
        {
            var type = UNet.parameters().First().dtype;
            throw new NotFiniteException(
                $"The latents of step {step + 1} of {steps} are not finite, so there is no picture. "
                + "Expected finite weights and settings that keep numbers small: "
                + $"look into the LoRAs with `lora inspect` and give them smaller weights, take less guidance than {guidance:G4}"
                + (type == ScalarType.Float16 ? ", or load the model as BFloat16 or Float32, as Float16 overflows beyond 65504." : "."));
        }
    }

    private long[] LatentShape(int width, int height)
    {
        var factor = Vae.DownsamplingFactor;
        return width % factor == 0 && height % factor == 0
            ? [UNet.Config.InChannels, height / factor, width / factor]
            : throw new ArgumentException(
                $"Got an image size of {width} × {height} pixels; expected multiples of {factor}, by which the autoencoder shrinks images. "
                + $"The nearest are {Nearest(width)} × {Nearest(height)}.");

        int Nearest(int side) => Math.Max((int)Math.Round((double)side / factor), 1) * factor;
    }
}
