/* Images of every type and format, and descriptions that make no sense. */
#include "parity.h"

static const cl_image_format kFormat = {CL_RGBA, CL_UNORM_INT8};
static const cl_mem_properties kNone[] = {0};
static const cl_mem_properties kUnknown[] = {0x7654, 1, 0};

static cl_image_desc describe(cl_mem_object_type type, size_t width, size_t height, size_t depth) {
  cl_image_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.image_type = type;
  desc.image_width = width;
  desc.image_height = height;
  desc.image_depth = depth;
  desc.image_array_size = depth;
  return desc;
}

/* By every call that takes a description. */
static void image(const struct Setting* in, const char* label, cl_mem_flags flags,
                  const cl_image_format* format, const cl_image_desc* desc, void* memory) {
  const cl_context context = in->context;
  MEM(in, label, clCreateImage(context, flags, format, desc, memory, code));
  MEM(in, label, clCreateImage(NULL, flags, format, desc, memory, code));
  MEM(in, label, clCreateImageWithProperties(context, NULL, flags, format, desc, memory, code));
  MEM(in, label, clCreateImageWithProperties(context, kNone, flags, format, desc, memory, code));
  MEM(in, label, clCreateImageWithProperties(context, kUnknown, flags, format, desc, memory, code));
  MEM(in, label, clCreateImageWithProperties(NULL, NULL, flags, format, desc, memory, code));
}

static void formats(const struct Setting* in) {
  char label[128];
  const cl_image_desc flat = describe(CL_MEM_OBJECT_IMAGE2D, 8, 8, 0);
  for (cl_channel_order order = 0x10af; order <= 0x10c5; ++order) {
    for (cl_channel_type type = 0x10cf; type <= 0x10e2; ++type) {
      const cl_image_format format = {order, type};
      snprintf(label, sizeof label, "clCreateImage format %#x %#x", order, type);
      MEM(in, label, clCreateImage(in->context, 0, &format, &flat, NULL, code));
      MEM(in, label, clCreateImage2D(in->context, 0, &format, 8, 8, 0, NULL, code));
    }
  }
}

static void types_and_sizes(const struct Setting* in) {
  char label[128];
  const size_t sides[] = {0, 1, 7, 64, 16384, 16385, 100000, (size_t)1 << 31, ~(size_t)0};
  for (cl_mem_object_type type = CL_MEM_OBJECT_BUFFER - 1; type < CL_MEM_OBJECT_PIPE; ++type) {
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; ++i) {
      const cl_image_desc wide = describe(type, sides[i], 4, 2);
      const cl_image_desc high = describe(type, 4, sides[i], 2);
      const cl_image_desc deep = describe(type, 4, 4, sides[i]);
      const cl_image_desc large = describe(type, sides[i], sides[i], sides[i]);
      snprintf(label, sizeof label, "clCreateImage type %#x side %zu", type, sides[i]);
      const int fits = sides[i] < 16384;
      image(in, label, 0, &kFormat, &wide, NULL);
      image(in, label, 0, &kFormat, &high, NULL);
      image(in, label, 0, &kFormat, &deep, NULL);
      if (fits || sides[i] > 16384) image(in, label, 0, &kFormat, &large, NULL);
    }
  }
}

static void descriptions(const struct Setting* in) {
  char label[128];
  const size_t pitches[] = {0, 1, 31, 32, 33, 64, 4096, (size_t)1 << 40, ~(size_t)0};
  const cl_mem_flags flags[] = {0,
                                CL_MEM_USE_HOST_PTR,
                                CL_MEM_COPY_HOST_PTR,
                                CL_MEM_ALLOC_HOST_PTR,
                                CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY,
                                (cl_mem_flags)1 << 40};
  for (size_t f = 0; f < sizeof flags / sizeof flags[0]; ++f) {
    for (size_t p = 0; p < sizeof pitches / sizeof pitches[0]; ++p) {
      for (int host = 0; host < 2; ++host) {
        /* What a driver may read of it stays within the page. */
        if (host && pitches[p] > 64) continue;
        cl_image_desc desc = describe(CL_MEM_OBJECT_IMAGE2D, 8, 8, 2);
        desc.image_row_pitch = pitches[p];
        void* memory = host ? in->memory : NULL;
        snprintf(label, sizeof label, "clCreateImage pitch %zu flags %#llx host %d", pitches[p],
                 (unsigned long long)flags[f], host);
        image(in, label, flags[f], &kFormat, &desc, memory);
        desc.image_slice_pitch = pitches[p] * 8;
        image(in, label, flags[f], &kFormat, &desc, memory);
        desc.image_type = CL_MEM_OBJECT_IMAGE3D;
        image(in, label, flags[f], &kFormat, &desc, memory);
        MEM(in, label,
            clCreateImage2D(in->context, flags[f], &kFormat, 8, 8, pitches[p], memory, code));
        MEM(in, label,
            clCreateImage3D(in->context, flags[f], &kFormat, 8, 8, 2, pitches[p], pitches[p] * 8,
                            memory, code));
      }
    }
  }
  /* Mip levels and samples abort PoCL 3.1. */
  const cl_image_desc desc = describe(CL_MEM_OBJECT_IMAGE2D, 8, 8, 0);
  image(in, "clCreateImage no format", 0, NULL, &desc, NULL);
  image(in, "clCreateImage no description", 0, &kFormat, NULL, NULL);
  image(in, "clCreateImage neither", 0, NULL, NULL, NULL);
}

static void over_others(const struct Setting* in) {
  char label[128];
  cl_mem buffer = clCreateBuffer(in->context, 0, 65536, NULL, NULL);
  const cl_image_desc flat = describe(CL_MEM_OBJECT_IMAGE2D, 8, 8, 0);
  cl_mem other = clCreateImage(in->context, 0, &kFormat, &flat, NULL, NULL);
  for (cl_mem_object_type type = CL_MEM_OBJECT_BUFFER; type < CL_MEM_OBJECT_PIPE; ++type) {
    for (size_t width = 0; width <= 131072; width = width != 0 ? width * 8 : 4) {
      for (int which = 0; which < 2; ++which) {
        cl_image_desc desc = describe(type, width, width < 2048 ? 8 : 1, 1);
        desc.mem_object = which ? other : buffer;
        snprintf(label, sizeof label, "clCreateImage type %#x over %s width %zu", type,
                 which ? "an image" : "a buffer", width);
        image(in, label, 0, &kFormat, &desc, NULL);
        image(in, label, CL_MEM_USE_HOST_PTR, &kFormat, &desc, in->memory);
        desc.image_row_pitch = width * 4;
        image(in, label, CL_MEM_READ_ONLY, &kFormat, &desc, NULL);
      }
    }
  }
  if (other != NULL) clReleaseMemObject(other);
  clReleaseMemObject(buffer);
}

static void old_calls(const struct Setting* in) {
  char label[128];
  const size_t sides[] = {0, 1, 64, 100000, (size_t)1 << 31, ~(size_t)0};
  for (size_t a = 0; a < 6; ++a) {
    for (size_t b = 0; b < 6; ++b) {
      snprintf(label, sizeof label, "clCreateImage2D %zu %zu", sides[a], sides[b]);
      MEM(in, label, clCreateImage2D(in->context, 0, &kFormat, sides[a], sides[b], 0, NULL, code));
      MEM(in, label, clCreateImage2D(NULL, 0, &kFormat, sides[a], sides[b], 0, NULL, code));
      for (size_t c = 0; c < 6; ++c) {
        snprintf(label, sizeof label, "clCreateImage3D %zu %zu %zu", sides[a], sides[b], sides[c]);
        MEM(in, label,
            clCreateImage3D(in->context, 0, &kFormat, sides[a], sides[b], sides[c], 0, 0, NULL,
                            code));
      }
    }
  }
  MEM(in, "clCreateImage2D no format", clCreateImage2D(in->context, 0, NULL, 8, 8, 0, NULL, code));
  MEM(in, "clCreateImage3D no format",
      clCreateImage3D(in->context, 0, NULL, 8, 8, 2, 0, 0, NULL, code));
  MEM(in, "clCreateImage3D null", clCreateImage3D(NULL, 0, &kFormat, 8, 8, 2, 0, 0, NULL, code));
}

void image_calls(const struct Setting* in) {
  formats(in);
  types_and_sizes(in);
  descriptions(in);
  over_others(in);
  old_calls(in);
}
